//! Panics of libraries that read foreign files become errors. The Parquet reader, for one, takes the numbers in a damaged
//! footer for granted. Only such libraries are called under guard: a mistake of this program's own must not look like a
//! damaged file.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::pin::pin;
use std::sync::Once;

thread_local! {
    /// Whether this thread is under guard: then nothing is printed about a panic.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does something; if it panics, gives what the panic said. What was worked on must not be used after that.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    let outside = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outside);
    result.map_err(|panic| said(&*panic))
}

/// The same for what is computed bit by bit.
pub async fn catch_panic_async<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_panic(|| future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(said) => std::task::Poll::Ready(Err(said)),
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it broke off").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_panic_says_is_the_error() {
        assert_eq!(catch_panic(|| 7), Ok(7));
        let none: Vec<u8> = Vec::new();
        assert!(catch_panic(|| none[1]).unwrap_err().contains("out of bounds"));
        let inner = catch_panic(|| catch_panic(|| panic!("{}", 1)).and(Ok(2)));
        assert_eq!(inner, Ok(Err("1".to_owned())));
        assert_eq!(catch_panic_async(async { 7 }).await, Ok(7));
        let later = catch_panic_async(async {
            tokio::task::yield_now().await;
            panic!("later")
        });
        let later: Result<(), String> = later.await;
        assert_eq!(later, Err("later".to_owned()));
    }
}
