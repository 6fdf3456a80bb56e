//! A bounded queue that drops its oldest items: a sender's feedback, which loses its worth with age.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub(crate) struct DroppingQueue<T> {
    capacity: usize,
    state: Mutex<(VecDeque<T>, bool)>,
    arrived: Notify,
}

impl<T> DroppingQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::new((VecDeque::new(), false)), arrived: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<T>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item unless closed. Returns the older one that was dropped for it.
    pub(crate) fn push(&self, item: T) -> Option<T> {
        let mut state = self.lock();
        if state.1 {
            return None;
        }
        let dropped = if state.0.len() >= self.capacity { state.0.pop_front() } else { None };
        state.0.push_back(item);
        drop(state);
        self.arrived.notify_one();
        dropped
    }

    /// Nothing more will come; what waits can still be read.
    pub(crate) fn close(&self) {
        self.lock().1 = true;
        self.arrived.notify_waiters();
        self.arrived.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().1
    }

    pub(crate) fn try_recv(&self) -> Option<T> {
        self.lock().0.pop_front()
    }

    /// The next item; `None` once closed and empty.
    pub(crate) async fn recv(&self) -> Option<T> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.lock();
                if let Some(item) = state.0.pop_front() {
                    if !state.0.is_empty() {
                        // Another reader may wait for what is left.
                        self.arrived.notify_one();
                    }
                    return Some(item);
                }
                if state.1 {
                    // Wake the next of several readers too.
                    self.arrived.notify_one();
                    return None;
                }
            }
            arrived.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_go_first_and_close_ends_all_readers() {
        let queue = DroppingQueue::new(2);
        assert_eq!((queue.push(1), queue.push(2), queue.push(3)), (None, None, Some(1)));
        queue.close();
        assert_eq!(queue.push(4), None);
        assert_eq!(queue.recv().await, Some(2));
        assert_eq!(queue.try_recv(), Some(3));
        assert_eq!(tokio::join!(queue.recv(), queue.recv()), (None, None));
        assert!(queue.is_closed());
    }
}
