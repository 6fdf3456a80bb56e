//! A network namespace: entered by a thread to configure it, by a runtime's threads to open sockets in it.
//!
//! It has no name: it lives while its file is open or a thread is inside, so that nothing is left of it after the
//! process, however that ends.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::runtime::Runtime;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// A new one, with its loopback interface up and IPv6 off, whose duplicate address detection would have to be
    /// waited for.
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("network namespaces: cargo xtask test --only namespaces");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self { file: Arc::new(made.join().unwrap()) };
        namespace.enter(|| {
            for which in ["all", "default"] {
                // Absent where the kernel has no IPv6.
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
            }
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// How `ip` is told of it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs something on a thread that is inside.
    pub(crate) fn enter<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.join_it();
                run()
            });
            inside.join().unwrap()
        })
    }

    /// Moves this thread inside, for good.
    pub(crate) fn join_it(&self) {
        setns(self.file.as_raw_fd(), CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Routes packets between its interfaces from now on.
    pub(crate) fn forward(&self) {
        self.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    }

    /// Commands of `ip`, one a line.
    pub(crate) fn ip(&self, commands: &str) {
        self.feed("ip", &["-batch", "-"], commands);
    }

    /// Rules of `nft`.
    pub(crate) fn nft(&self, rules: &str) {
        self.feed("nft", &["-f", "-"], rules);
    }

    fn feed(&self, program: &str, args: &[&str], input: &str) {
        let output = self.enter(|| {
            let mut command = Command::new(program);
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {error}\n{input}");
    }

    /// A runtime all of whose threads are inside.
    pub(crate) fn runtime(&self) -> NamespaceRuntime {
        let namespace = self.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || namespace.join_it())
            .build()
            .unwrap();
        NamespaceRuntime(Some(runtime))
    }
}

/// A runtime that may be dropped within another.
#[derive(Debug)]
pub(crate) struct NamespaceRuntime(Option<Runtime>);

impl NamespaceRuntime {
    /// Its handle.
    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.0.as_ref().unwrap().handle().clone()
    }
}

impl Drop for NamespaceRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
