//! Tells neighbours the addresses behind our names below `.local` (RFC 6762,
//! draft-ietf-mmusic-mdns-ice-candidates section 3.1.1). Answers to libwebrtc's `MdnsResponderInterface`, which browsers
//! implement; owned by the network task, with a task of its own while there are names.
//!
//! The names are random, so that nobody else can have them: there is no probing, and nothing is said before somebody
//! asks. A record goes to the group once a second at most, what is asked for sooner after that second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::MdnsResponder;
use tokio::sync::mpsc;

use super::mdns_message::{MAX_MESSAGE, Reply, announcement, answer};
use super::mdns_sockets::{MdnsSockets, PORT, interfaces, is_on_link};

/// Between two messages to the group with the same record (RFC 6762 section 6).
const INTERVAL: Duration = Duration::from_secs(1);
/// Queries that are answered in a second, at once or later.
const QUERIES_PER_SECOND: u32 = 50;

/// Answers by multicast on the interfaces that have the addresses. Must be used within a tokio runtime that has I/O.
#[derive(Debug, Default)]
pub struct BasicMdnsResponder {
    names: BTreeMap<String, IpAddr>,
    task: Option<mpsc::UnboundedSender<Command>>,
}

#[derive(Debug)]
enum Command {
    Register(String, IpAddr),
    Remove(String),
}

impl BasicMdnsResponder {
    /// One that has no names yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn tell(&self, command: Command) -> bool {
        self.task.as_ref().is_some_and(|task| task.send(command).is_ok())
    }
}

impl MdnsResponder for BasicMdnsResponder {
    fn register(&mut self, name: &str, address: IpAddr) {
        let name = name.to_ascii_lowercase();
        self.names.insert(name.clone(), address);
        if self.tell(Command::Register(name, address)) {
            return;
        }
        // The first name, or the sockets could not be had when there was another.
        let (sender, commands) = mpsc::unbounded_channel();
        for (name, address) in &self.names {
            let _ = sender.send(Command::Register(name.clone(), *address));
        }
        self.task = Some(sender);
        start(commands);
    }

    fn remove(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if self.names.remove(&name).is_some() {
            self.tell(Command::Remove(name));
        }
        if self.names.is_empty() {
            // Without one who commands it the task ends.
            self.task = None;
        }
    }
}

#[cfg(feature = "fuzzing")]
impl BasicMdnsResponder {
    /// What is said to a query by one who has a single name, for tests/fuzz.
    #[doc(hidden)]
    pub fn answer_to(query: &[u8], name: &str, address: IpAddr, legacy: bool) -> Option<Vec<u8>> {
        answer(&[(name.to_owned(), address)].into(), query, legacy).map(|reply| reply.message)
    }
}

#[expect(clippy::disallowed_methods, reason = "listed in docs/architecture.md; ends with the last name")]
fn start(commands: mpsc::UnboundedReceiver<Command>) {
    tokio::spawn(run(commands));
}

#[expect(clippy::disallowed_methods, reason = "the task has no other clock")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn run(mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut sockets = match MdnsSockets::open() {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::warn!(target: "peerstack::network", %error, "our .local names cannot be told");
            return;
        }
    };
    let mut names = MdnsNames::default();
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let due = names.next_timeout();
        let sleep = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What was taken back is not told to who asks afterwards.
            biased;
            command = commands.recv() => match command {
                Some(Command::Register(name, address)) => {
                    names.register(name, address);
                    sockets.join(&interfaces());
                }
                Some(Command::Remove(name)) => {
                    if let Some((goodbye, address)) = names.remove(&name) {
                        tell_group(&sockets, &goodbye, &[address]).await;
                    }
                }
                None => break,
            },
            () = sleep => {
                if let Some((message, addresses)) = names.handle_timeout(now()) {
                    tell_group(&sockets, &message, &addresses).await;
                }
            }
            received = sockets.receive(&mut buffer) => {
                // Said there already.
                let Ok((len, source)) = received else { return };
                reply(&sockets, &mut names, buffer.get(..len).unwrap_or_default(), source).await;
            }
        }
    }
    for name in names.names.keys().cloned().collect::<Vec<_>>() {
        if let Some((goodbye, address)) = names.remove(&name) {
            tell_group(&sockets, &goodbye, &[address]).await;
        }
    }
}

/// Names and when they were told. Knows the time only by being told.
#[derive(Debug, Default)]
struct MdnsNames {
    names: BTreeMap<String, IpAddr>,
    /// When a name was last told to the group, for an interval.
    told: BTreeMap<String, Instant>,
    /// When a name is to be told to the group.
    due: BTreeMap<String, Instant>,
    /// Queries answered since then.
    answered: Option<(Instant, u32)>,
}

impl MdnsNames {
    fn register(&mut self, name: String, address: IpAddr) {
        self.names.insert(name, address);
    }

    /// The goodbye to a name, and its address.
    fn remove(&mut self, name: &str) -> Option<(Vec<u8>, IpAddr)> {
        self.told.remove(name);
        self.due.remove(name);
        let address = self.names.remove(name)?;
        Some((announcement([(name, address)].into_iter(), true)?, address))
    }

    /// What is to be said to a query now.
    fn receive(&mut self, now: Instant, query: &[u8], legacy: bool) -> Option<Reply> {
        let reply = answer(&self.names, query, legacy)?;
        if !self.may_answer(now) {
            return None;
        }
        if reply.unicast {
            return Some(reply);
        }
        self.told.retain(|_, told| now < *told + INTERVAL);
        if reply.names.iter().all(|name| !self.told.contains_key(name)) {
            self.told.extend(reply.names.iter().map(|name| (name.clone(), now)));
            return Some(reply);
        }
        for name in reply.names {
            let at = self.told.get(&name).map_or(now, |told| *told + INTERVAL);
            self.due.entry(name).or_insert(at);
        }
        None
    }

    fn may_answer(&mut self, now: Instant) -> bool {
        let (since, count) = self.answered.unwrap_or((now, 0));
        let (since, count) = if now >= since + INTERVAL { (now, 0) } else { (since, count) };
        self.answered = Some((since, count.saturating_add(1)));
        count < QUERIES_PER_SECOND
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// What is to be told to the group now, with the addresses in it.
    fn handle_timeout(&mut self, now: Instant) -> Option<(Vec<u8>, Vec<IpAddr>)> {
        let due: Vec<String> =
            self.due.extract_if(.., |_, at| *at <= now).map(|(name, _)| name).take(8).collect();
        let known = || due.iter().filter_map(|name| Some((name.as_str(), *self.names.get(name)?)));
        let addresses: Vec<IpAddr> = known().map(|(_, address)| address).collect();
        let message = announcement(known(), false)?;
        self.told.extend(due.into_iter().map(|name| (name, now)));
        (!addresses.is_empty()).then_some((message, addresses))
    }
}

/// Says what is to be said to a query.
async fn reply(sockets: &MdnsSockets, names: &mut MdnsNames, query: &[u8], source: SocketAddr) {
    let legacy = source.port() != PORT;
    let Some(reply) = names.receive(now(), query, legacy) else { return };
    if !reply.unicast {
        let addresses: Vec<IpAddr> =
            reply.names.iter().filter_map(|name| names.names.get(name).copied()).collect();
        return tell_group(sockets, &reply.message, &addresses).await;
    }
    // A forged source would have us send to strangers (RFC 6762 section 11).
    if is_on_link(source.ip(), &interfaces()) {
        sockets.send_to(&reply.message, source).await;
    }
}

/// To the groups, on the interfaces that have one of these addresses: others are not told of them.
async fn tell_group(sockets: &MdnsSockets, message: &[u8], addresses: &[IpAddr]) {
    let interfaces = interfaces();
    let names: BTreeSet<&str> = interfaces
        .iter()
        .filter(|interface| addresses.contains(&interface.ip()))
        .map(|interface| interface.name.as_str())
        .collect();
    sockets.multicast(message, &interfaces, |interface| names.contains(interface.name.as_str())).await;
}

#[cfg(test)]
#[path = "mdns_responder_tests.rs"]
mod tests;
