//! What giving a VM and asking for its status cost the server, with a hundred VMs, a thousand and ten thousand.
//!
//! One caller, one connection; processor time of the server, less what it uses in the same time when nobody asks: it
//! probes its machines and looks at its cloud all the while, and that is proportional to their number. What must not
//! grow is what a command or a look at one VM costs. Lists of everything are proportional to the pool by nature.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::report::{Report, Row, Verdict};
use crate::serve::Server;
use crate::{Scale, http};

/// From 100 to 10,000 the logarithm doubles.
const GROWTH_MAX: f64 = 2.0;

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    let mut costs = Vec::new();
    for size in scale.sizes {
        costs.push((size, run(scale, size).await?));
    }
    let mut tell = |what: &str, cost: fn(&Cost) -> f64, limit: Option<f64>| {
        let each: Vec<String> = costs
            .iter()
            .map(|(size, of)| format!("{:.0} us with {size}", cost(of)))
            .collect();
        let growth = match (costs.first(), costs.last()) {
            (Some((_, few)), Some((_, many))) => cost(many) / cost(few),
            (None, _) | (_, None) => f64::NAN,
        };
        report.add(Row {
            target: "C",
            what: format!("processor time of the server per {what}"),
            figure: format!("{}: {growth:.2} x", each.join(", ")),
            goal: limit.map_or_else(String::new, |limit| {
                format!("<= {limit} x, as the logarithm grows")
            }),
            ratio: limit.map(|limit| growth / limit),
            verdict: limit.map_or(Verdict::Beside, |limit| Verdict::of(growth <= limit)),
        });
    };
    tell("assign and release over HTTP", |of| of.pair_us, Some(GROWTH_MAX));
    tell(
        "status of a competition's VM",
        |of| of.status_us,
        Some(GROWTH_MAX),
    );
    tell(
        "list of the whole pool, which grows by nature",
        |of| of.list_us,
        None,
    );
    Ok(())
}

struct Cost {
    pair_us: f64,
    status_us: f64,
    list_us: f64,
}

async fn run(scale: &Scale, size: usize) -> Result<Cost> {
    let folder = crate::folder()?;
    let server = Server::start(folder.path(), size).await?;
    server.until_available(size as u64).await?;
    tokio::time::sleep(scale.load).await;
    let (began, before) = (Instant::now(), server.processor_time()?);
    tokio::time::sleep(scale.load * 2).await;
    let idle = (server.processor_time()? - before).as_secs_f64() / began.elapsed().as_secs_f64();
    // Not before: the server closes a connection on which nothing is asked.
    let mut caller = http::Client::connect(server.address()).await?;
    let mut cost = async |paths: &[(&str, &str)]| {
        let (began, before) = (Instant::now(), server.processor_time()?);
        let mut done = 0_u32;
        while began.elapsed() < scale.load {
            for (method, path) in paths {
                let answer = caller.ask(method, path).await?;
                ensure!(
                    answer.status == 200,
                    "{path}: {} {}",
                    answer.status,
                    answer.text()
                );
            }
            done += 1;
        }
        let span: Duration = began.elapsed();
        let used = (server.processor_time()? - before).as_secs_f64() - idle * span.as_secs_f64();
        anyhow::Ok(used * 1e6 / f64::from(done))
    };
    let assign = ("POST", "/api/competitions/finals/vm/assign");
    let release = ("POST", "/api/competitions/finals/vm/release");
    let pair_us = cost(&[assign, release]).await?;
    http::Client::connect(server.address())
        .await?
        .post(assign.1)
        .await?;
    let costs = Cost {
        pair_us,
        status_us: cost(&[("GET", "/api/vm/finals/status")]).await?,
        list_us: cost(&[("GET", "/api/admin/vm-pool")]).await?,
    };
    server.stop().await?;
    Ok(costs)
}
