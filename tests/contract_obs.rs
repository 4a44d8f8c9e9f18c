//! The contract of a studio, against the simulated one and, where `UNDERSTUDY_STUDIO` names its obs-websocket
//! (`address:port`, and `UNDERSTUDY_STUDIO_PASSWORD`), against real OBS.

mod support;

use support::{PLENTY, contract, studios};
use understudy::domain::studio::Secret;
use understudy::infra::obs::{Endpoint, Route};

#[tokio::test]
async fn the_simulated_studio_and_the_real_one_named_keep_the_contract() {
    let (_world, machines) = studios::world(1).await;
    contract::holds(&studios::endpoint(&machines[0])).await;
    // Twice: the second time everything is there already.
    contract::holds(&studios::endpoint(&machines[0])).await;
    if let Ok(address) = std::env::var("UNDERSTUDY_STUDIO") {
        let real = Endpoint {
            address: address.parse().expect("UNDERSTUDY_STUDIO is address:port"),
            route: Route::Direct,
            password: std::env::var("UNDERSTUDY_STUDIO_PASSWORD").ok().map(Secret::new),
            connect_deadline: PLENTY,
            call_deadline: PLENTY,
        };
        contract::holds(&real).await;
        contract::holds(&real).await;
    }
}
