//! coturn in a namespace, over UDP, TCP and TLS, with a certificate of an authority made for the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::namespace::Namespace;

/// The name the certificate is for.
pub(crate) const NAME: &str = "turn.example";
pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "pass";
/// UDP and TCP.
pub(crate) const PORT: u16 = 3478;
pub(crate) const TLS_PORT: u16 = 5349;

/// An authority and a server's certificate of it.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// The authority's, DER.
    pub(crate) root: Vec<u8>,
    /// The authority's.
    pub(crate) root_pem: String,
    server_pem: String,
    server_key_pem: String,
}

impl Certificates {
    /// New ones, the server's for [`NAME`].
    pub(crate) fn new() -> Self {
        Self::for_name(NAME)
    }

    /// New ones, the server's for a name.
    pub(crate) fn for_name(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("the authority of {name}"));
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let server = params.signed_by(&key, &root).unwrap();
        Self {
            root: root.der().to_vec(),
            root_pem: root.pem(),
            server_pem: server.pem(),
            server_key_pem: key.serialize_pem(),
        }
    }
}

/// A folder of a test, gone with it.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("peerstack-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running coturn; ends when dropped.
#[derive(Debug)]
pub(crate) struct TurnServer {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: Folder,
}

impl TurnServer {
    /// Starts it and waits until it listens.
    pub(crate) fn start(namespace: &Namespace, address: &str, certificates: &Certificates) -> Self {
        Self::start_on(namespace, &[address], certificates)
    }

    /// The same on several addresses: with two it tells of NATs (RFC 5780).
    pub(crate) fn start_on(namespace: &Namespace, addresses: &[&str], certificates: &Certificates) -> Self {
        // UDP, TCP and TLS; with two addresses a second port of each, too.
        let listeners = if addresses.len() > 1 { 6 * addresses.len() } else { 3 };
        let folder = Folder::new();
        fs::write(folder.0.join("cert.pem"), &certificates.server_pem).unwrap();
        fs::write(folder.0.join("key.pem"), &certificates.server_key_pem).unwrap();
        let mut command = command(addresses, &folder.0);
        let (stop, stopped) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let namespace = namespace.clone();
        // The server is told to end with the thread that started it, which waits for the test therefore.
        let thread = std::thread::spawn(move || {
            namespace.join_it();
            let mut child = command.spawn().expect("coturn: apt-get install coturn");
            let log = wait_until_it_listens(&mut child, listeners);
            let _ = ready.send(());
            let _ = stopped.recv();
            let _ = child.kill();
            let _ = child.wait();
            drop(log);
        });
        is_ready.recv().expect("coturn listens");
        Self { stop: Some(stop), thread: Some(thread), folder }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn command(addresses: &[&str], folder: &Path) -> Command {
    // Ends with the test, however that ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "turnserver", "-n", "-v", "--no-cli", "--no-dtls", "-m", "1"]);
    command.args(["--lt-cred-mech", "-u", &format!("{USER}:{PASSWORD}"), "-r", "example"]);
    command.args(addresses.iter().flat_map(|address| ["-L", address]));
    command.args(["-p", &PORT.to_string(), "--tls-listening-port", &TLS_PORT.to_string()]);
    command.args(["--log-file", "stdout", "--simple-log", "--allow-loopback-peers"]);
    for (flag, file) in
        [("--cert", "cert.pem"), ("--pkey", "key.pem"), ("--pidfile", "pid"), ("--db", "users.sqlite")]
    {
        command.arg(flag).arg(folder.join(file));
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Reads its log until all its sockets listen; goes on reading, so that it never waits for a reader.
fn wait_until_it_listens(child: &mut Child, listeners: usize) -> JoinHandle<()> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut said, mut open) = (Vec::new(), 0);
    while open < listeners {
        let Some(Ok(line)) = lines.next() else { panic!("coturn ended:\n{}", said.join("\n")) };
        open += usize::from(line.contains("listener opened on"));
        said.push(line);
    }
    std::thread::spawn(move || lines.for_each(drop))
}
