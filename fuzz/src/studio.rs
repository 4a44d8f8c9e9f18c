//! What a studio says over obs-websocket: a simulated one whose messages are replaced on the way.
//!
//! A line says what is different, the last of its kind counts:
//!
//! | line | meaning |
//! |---|---|
//! | `GetSceneList {"scenes":[]}` | every answer to this request has this data instead |
//! | `GetSceneList? 600 "No such thing"` | it is refused, with this code and comment |
//! | `GetSceneList! text` | the message that answers it is this text instead |
//! | `+ text` | a message that the studio says on its own, before the first answer |
//!
//! The sockets are real, since `obws` can only dial; time is not. It passes as fast as the sockets allow ([`pass`]), so
//! that pauses and deadlines of seconds take milliseconds, and how busy the machine is decides nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;
use understudy::domain::studio::{Secret, Studio};
use understudy::infra::obs::{Connector as _, Endpoint, Error, Means, ObwsConnector, Route};
use understudy::infra::vault::Vault;
use understudy::sim::wire::machine::MachineHandle;
use understudy::sim::world::{World, WorldConfig};

/// All the time that an answer may take, of the time that passes here: some ten milliseconds on a clock, so that a kernel with
/// other things to do delivers in time.
const PATIENCE: Duration = Duration::from_secs(2);
/// After so many looks at the sockets without any news for whoever reads from them, a millisecond has passed. What is
/// sent on loopback is there at the next look.
const LOOKS: u32 = 4;
/// What an input leaves behind is gone after that.
const AFTERMATH: Duration = Duration::from_millis(20);
const KEY: &str = "key-fuzzed";
/// `RequestResponse` (obs-websocket's protocol.md).
const ANSWER: u64 = 7;

struct Rig {
    _world: World,
    machine: MachineHandle,
    studio: SocketAddr,
    listener: TcpListener,
    connector: ObwsConnector,
    endpoint: Endpoint,
    /// As it is when nothing is replaced.
    example: Studio,
}

/// Everything runs on the thread that libFuzzer watches.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime on this thread")
});

static RIG: LazyLock<Rig> = LazyLock::new(|| in_passing_time(set_up()));

fn in_passing_time<T>(what: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        tokio::select! {
            done = what => done,
            () = pass() => unreachable!("time does not end"),
        }
    })
}

/// Paused time would leap to the next deadline whenever somebody waits for a socket. With this the runtime is never
/// idle: it looks at the sockets whenever everybody waits, and then time passes.
async fn pass() {
    loop {
        for _ in 0..LOOKS {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
}

async fn set_up() -> Rig {
    let world = World::start(WorldConfig::for_test(1, 0)).await.expect("a world");
    let instance = world.instances().remove(0).instance_id;
    let machine = world.machine(&instance).expect("a machine");
    machine.load_example_studio(KEY).expect("no stream runs");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let connector = ObwsConnector::new(Arc::new(Vault::ephemeral().expect("a key")));
    let endpoint = Endpoint {
        address: listener.local_addr().expect("its address"),
        route: Route::Direct,
        password: Some(Secret::new("simulated")),
        connect_deadline: PATIENCE,
        call_deadline: PATIENCE,
    };
    let studio = SocketAddr::from((machine.address(), world.config().ports.obs));
    let direct = Endpoint {
        address: studio,
        ..endpoint.clone()
    };
    let (session, _) = connector.connect(&direct).await.expect("a studio");
    let example = session.capture().await.expect("its scenes");
    Rig {
        _world: world,
        machine,
        studio,
        listener,
        connector,
        endpoint,
        example,
    }
}

/// What the studio says instead, by the request that it answers.
#[derive(Default)]
struct Replaced {
    data: BTreeMap<String, Value>,
    refused: BTreeMap<String, (i64, String)>,
    messages: BTreeMap<String, String>,
    said: Vec<String>,
}

impl Replaced {
    fn read(text: &str) -> Self {
        let mut replaced = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once(' ') else {
                continue;
            };
            if name == "+" {
                replaced.said.push(rest.to_owned());
            } else if let Some(name) = name.strip_suffix('!') {
                replaced.messages.insert(name.to_owned(), rest.to_owned());
            } else if let Some(name) = name.strip_suffix('?') {
                let (code, comment) = rest.split_once(' ').unwrap_or((rest, ""));
                if let Ok(code) = code.parse() {
                    replaced
                        .refused
                        .insert(name.to_owned(), (code, comment.to_owned()));
                }
            } else if let Ok(data) = serde_json::from_str(rest) {
                replaced.data.insert(name.to_owned(), data);
            }
        }
        replaced
    }

    /// The text of a message that may have to be replaced: most are not worth the reading.
    fn concerned<'a>(&self, message: &'a Message) -> Option<&'a str> {
        let Message::Text(text) = message else {
            return None;
        };
        let mut names = self
            .data
            .keys()
            .chain(self.refused.keys())
            .chain(self.messages.keys());
        names.any(|name| text.contains(name)).then_some(text)
    }

    /// What arrives instead of `message`.
    fn pass(&self, message: Message) -> Message {
        let Some(mut whole) = self.concerned(&message).and_then(answer) else {
            return message;
        };
        let name = whole["d"]["requestType"].as_str().unwrap_or_default().to_owned();
        if let Some(text) = self.messages.get(&name) {
            return Message::text(text.clone());
        }
        if let Some((code, comment)) = self.refused.get(&name) {
            whole["d"]["requestStatus"] = json!({"result": false, "code": code, "comment": comment});
        } else if let Some(data) = self.data.get(&name) {
            whole["d"]["responseData"] = data.clone();
        } else {
            return message;
        }
        Message::text(whole.to_string())
    }
}

/// The message, if it answers a request.
fn answer(text: &str) -> Option<Value> {
    let message: Value = serde_json::from_str(text).ok()?;
    (message["op"] == ANSWER).then_some(message)
}

/// Carries connections to the studio, until it is dropped.
async fn between(rig: &Rig, replaced: &Arc<Replaced>) {
    while let Ok((connection, _)) = rig.listener.accept().await {
        tokio::spawn(carry(connection, rig.studio, Arc::clone(replaced)));
    }
}

/// `None` when either side has ended it.
async fn carry(connection: TcpStream, studio: SocketAddr, replaced: Arc<Replaced>) -> Option<()> {
    let far = TcpStream::connect(studio).await.ok()?;
    for side in [&connection, &far] {
        side.set_nodelay(true).ok()?;
    }
    let near = tokio_tungstenite::accept_async(connection).await.ok()?;
    let (far, _) = tokio_tungstenite::client_async(format!("ws://{studio}"), far)
        .await
        .ok()?;
    let ((mut near_out, mut near_in), (mut far_out, mut far_in)) = (near.split(), far.split());
    let mut said = replaced.said.iter();
    loop {
        tokio::select! {
            asked = near_in.next() => far_out.send(asked?.ok()?).await.ok()?,
            told = far_in.next() => {
                let told = told?.ok()?;
                if said.len() > 0 && told.to_text().is_ok_and(|text| answer(text).is_some()) {
                    for said in said.by_ref() {
                        near_out.send(Message::text(said.clone())).await.ok()?;
                    }
                }
                near_out.send(replaced.pass(told)).await.ok()?;
            }
        }
    }
}

/// What is captured goes into the journal, and a restart has to find the same.
pub fn is_kept(studio: &Studio) {
    let written = serde_json::to_vec(studio).expect("a studio is plain data");
    let read: Studio = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(read, *studio, "a studio is another one after a restart");
}

/// What was made of the studio: the capture, and the requests it took to make it equal to itself.
pub type Made = Result<(Studio, u32), Error>;

/// What the coordinator does with a studio, whatever comes of it.
async fn converse(rig: &Rig) -> Made {
    let (session, mut notices) = rig.connector.connect(&rig.endpoint).await?;
    let _ = session.output().await;
    let captured = session.capture().await;
    let made = match captured {
        Ok(captured) => {
            is_kept(&captured);
            let restored = session.restore(&captured, &Means::Requests).await;
            restored.map(|restored| (captured, restored.requests))
        }
        Err(error) => Err(error),
    };
    // Where nothing came out differently it would be the same once more.
    if !made.as_ref().is_ok_and(|(captured, _)| *captured == rig.example) {
        let _ = session.restore(&rig.example, &Means::Requests).await;
    }
    let _ = session.check_frame(false).await;
    while notices.try_recv().is_ok() {}
    made
}

/// # Errors
/// Why the studio could not be captured or restored.
pub fn run(text: &str) -> Made {
    let rig = &*RIG;
    // Whatever the input before has made of it.
    rig.machine.load_example_studio(KEY).expect("no stream runs");
    let made = in_passing_time(async {
        let replaced = Arc::new(Replaced::read(text));
        let made = tokio::select! {
            () = between(rig, &replaced) => unreachable!("a listener of ours ends"),
            made = converse(rig) => made
        };
        tokio::time::sleep(AFTERMATH).await;
        made
    });
    if let Err(error) = &made {
        assert!(!error.to_string().is_empty(), "refused without a word");
    }
    made
}
