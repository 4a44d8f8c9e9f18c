//! Bounds: connections, requests, slow peers, waiting requests, and shutdown in the middle of it.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use understudy::api::Options;
use understudy::domain::vm::Status;
use understudy::sim::model::fault::CloudFault;

use crate::served::{LIMIT, Served, open};

/// A connection on which nothing is sent but what the test sends.
pub struct Raw(TcpStream);

impl Raw {
    async fn to(served: &Served) -> Self {
        Self(TcpStream::connect(served.address).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything until the other side closes: the status and, if there is one, the JSON body.
    async fn rest(mut self) -> Option<(u16, Value)> {
        let mut text = String::new();
        let read = self.0.read_to_string(&mut text);
        tokio::time::timeout(LIMIT, read)
            .await
            .expect("the connection is closed in time")
            .unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().unwrap();
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    /// Sends the head of an assign whose body is still to come.
    async fn begin_assign(&mut self) {
        self.send(
            "POST /api/competitions/finals/vm/assign HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: 2\r\nconnection: close\r\n\r\n{",
        )
        .await;
    }

    pub async fn get(served: &Served, path: &str) -> (u16, Value) {
        let mut raw = Self::to(served).await;
        raw.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ))
        .await;
        raw.rest().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_so() {
    let served = Served::with_options(
        0,
        0,
        Options {
            connections_max: 2,
            ..open()
        },
    )
    .await;
    let idle = [Raw::to(&served).await, Raw::to(&served).await];
    let refused = Raw::to(&served).await.rest().await;
    let (status, body) = refused.expect("an answer");
    assert_eq!(
        (status, body["code"].as_str()),
        (503, Some("TOO_MANY_CONNECTIONS"))
    );
    drop(idle);
    let again = async {
        while Raw::get(&served, "/healthz").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, again)
        .await
        .expect("places come back in time");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_or_a_body_that_does_not_come_is_not_waited_for() {
    let limit = Duration::from_millis(200);
    let options = Options {
        header_timeout: limit,
        body_timeout: limit,
        ..open()
    };
    let served = Served::with_options(0, 0, options).await;
    let mut slow_head = Raw::to(&served).await;
    slow_head.send("GET /healthz HTTP/1.1\r\nhost:").await;
    let ended = slow_head.rest().await;
    assert!(
        ended.as_ref().is_none_or(|(status, _)| *status == 408),
        "{ended:?}"
    );
    let mut slow_body = Raw::to(&served).await;
    slow_body.begin_assign().await;
    let (status, body) = slow_body.rest().await.expect("an answer");
    assert_eq!(status, 408);
    assert!(body["error"].is_string());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_too_many_is_told_when_to_come_back_and_checks_still_answer() {
    let options = Options {
        requests_max: 1,
        ..open()
    };
    // One that has to be started: the assignment is held open until it is.
    let served = Served::with_options(0, 1, options).await;
    served
        .until("it is known", |state| {
            (state.count(Status::Stopped) == 1).then_some(())
        })
        .await;
    let slow_cloud = CloudFault::Slow {
        delay: Duration::from_secs(1),
    };
    served.stage.world.cloud_fault(slow_cloud);
    let mut slow = Raw::to(&served).await;
    slow.send(
        "POST /api/competitions/finals/vm/assign?wait=300 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    served
        .until("the assignment is being answered", |state| {
            (state.count(Status::Stopped) == 0).then_some(())
        })
        .await;
    let (status, busy) = Raw::get(&served, "/api/admin/vm-pool").await;
    assert_eq!((status, busy["code"].as_str()), (503, Some("BUSY")));
    assert_eq!(Raw::get(&served, "/healthz").await.0, 200);
    served.stage.world.heal_cloud();
    assert_eq!(slow.rest().await.unwrap().0, 200);
    assert_eq!(Raw::get(&served, "/api/admin/vm-pool").await.0, 200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_bodies_keep_nobody_out_but_the_slowest_of_themselves() {
    let options = Options {
        requests_max: 4,
        uploads_max: 4,
        body_timeout: LIMIT,
        ..open()
    };
    let served = Served::with_options(0, 0, options).await;
    let mut slow = JoinSet::new();
    for _ in 0..40 {
        let mut raw = Raw::to(&served).await;
        raw.begin_assign().await;
        slow.spawn(raw.rest());
    }
    let given_up = async |slow: &mut JoinSet<Option<(u16, Value)>>| {
        let (status, body) = slow.join_next().await.unwrap().unwrap().expect("an answer");
        assert_eq!((status, body["code"].as_str()), (503, Some("BUSY")));
    };
    for _ in 0..36 {
        given_up(&mut slow).await;
    }
    assert_eq!(Raw::get(&served, "/api/admin/vm-pool").await.0, 200);
    let mut prompt = Raw::to(&served).await;
    prompt.begin_assign().await;
    prompt.send("}").await;
    assert_eq!(prompt.rest().await.expect("an answer").0, 409);
    // It took the place of one of those that were left.
    given_up(&mut slow).await;
    assert!(slow.try_join_next().is_none());
    slow.shutdown().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_many_waiting_a_request_is_answered_at_once() {
    let served = Served::with_options(
        0,
        1,
        Options {
            waits_max: 0,
            ..open()
        },
    )
    .await;
    let answer = served.post("/api/competitions/finals/vm/assign?wait=300").await;
    assert_eq!(answer.is(202)["status"], "starting");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_request_finishes_at_shutdown_and_no_new_one_begins() {
    let served = Served::with(1, 0).await;
    let address = served.address;
    let mut open = Raw::to(&served).await;
    open.begin_assign().await;
    // It is being answered when the next request is: connections are accepted in order.
    assert_eq!(Raw::get(&served, "/healthz").await.0, 200);
    let stopping = tokio::spawn(served.stop());
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(LIMIT, refused)
        .await
        .expect("new connections are refused in time");
    open.send("}").await;
    assert_eq!(open.rest().await.expect("an answer").0, 200);
    stopping.await.unwrap();
}
