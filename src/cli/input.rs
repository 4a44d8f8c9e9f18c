//! Standard input, waited for.

use std::io::BufRead as _;

use tokio::sync::oneshot;

/// Returns when whoever started this is gone, or wants it to end.
pub async fn ends() {
    // That it cannot be read is its end, too.
    let read = elsewhere(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
    let _ = read.await;
}

/// The next line, if there is one.
pub async fn line() -> Option<String> {
    let read = elsewhere(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    read.await?.ok().filter(|line| !line.is_empty())
}

/// Does this in a thread of its own: a read that never ends must not keep the runtime from ending. `None`: it panicked.
pub(super) async fn elsewhere<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, read_is_done) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(read());
    });
    read_is_done.await.ok()
}
