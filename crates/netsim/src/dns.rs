//! Names: a static table that answers as DNS and mDNS.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::{Poll, Waker};
use std::time::Duration;

use peerstack_base::{DnsResolver, MdnsResponder, ResolveFuture};

use crate::lab::Shared;

/// What a look-up of a name ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer {
    /// These addresses, best first.
    Addresses(Vec<IpAddr>),
    /// This error.
    Error(io::ErrorKind),
    /// Nothing, ever.
    Silence,
}

#[derive(Debug, Default)]
pub(crate) struct DnsState {
    names: BTreeMap<String, DnsAnswer>,
    pub(crate) latency: Duration,
    pub(crate) queries: Vec<String>,
    /// Look-ups under way: `None` in place of a waker until polled, gone when due.
    pub(crate) waiting: BTreeMap<u64, Option<Waker>>,
    next: u64,
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl DnsState {
    pub(crate) fn set(&mut self, name: &str, answer: DnsAnswer) {
        self.names.insert(canonical(name), answer);
    }

    fn remove(&mut self, name: &str) {
        self.names.remove(&canonical(name));
    }

    fn ask(&mut self, name: &str) -> (u64, DnsAnswer) {
        self.queries.push(name.to_owned());
        let answer = self.names.get(&canonical(name)).cloned();
        self.next += 1;
        (self.next, answer.unwrap_or(DnsAnswer::Error(io::ErrorKind::NotFound)))
    }
}

/// See [`Lab::dns_resolver`](crate::Lab::dns_resolver).
#[derive(Debug, Clone)]
pub struct LabResolver {
    pub(crate) shared: Shared,
}

impl DnsResolver for LabResolver {
    fn resolve(&self, name: &str) -> ResolveFuture {
        let shared = self.shared.clone();
        let (query, answer) = shared.with(|world| {
            let (query, answer) = world.dns.ask(name);
            if answer == DnsAnswer::Silence || !world.dns.latency.is_zero() {
                world.dns.waiting.insert(query, None);
            }
            if answer != DnsAnswer::Silence {
                world.schedule_dns(query);
            }
            (query, answer)
        });
        Box::pin(async move {
            poll_fn(|cx| {
                shared.with(|world| match world.dns.waiting.get_mut(&query) {
                    Some(waker) => {
                        *waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                    None => Poll::Ready(()),
                })
            })
            .await;
            match answer {
                DnsAnswer::Addresses(ips) => Ok(ips),
                DnsAnswer::Error(kind) => Err(kind.into()),
                DnsAnswer::Silence => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

/// See [`Lab::mdns_responder`](crate::Lab::mdns_responder).
#[derive(Debug)]
pub struct LabMdnsResponder {
    pub(crate) shared: Shared,
}

impl MdnsResponder for LabMdnsResponder {
    fn register(&mut self, name: &str, address: IpAddr) {
        self.shared.with(|world| world.dns.set(name, DnsAnswer::Addresses(vec![address])));
    }

    fn remove(&mut self, name: &str) {
        self.shared.with(|world| world.dns.remove(name));
    }
}
