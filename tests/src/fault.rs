//! What breaks, and how it heals: one call for each.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::lab::netns::NetNs;

/// Where in the stack of a namespace a rule sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What the namespace sends itself.
    Output,
    /// What it receives itself.
    Input,
    /// What passes through.
    Forward,
}

/// Which transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How a REJECT answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A RST.
    Reset,
    /// ICMP port unreachable, as kube-proxy answers for a Service without endpoints.
    PortUnreachable,
    /// ICMP administratively prohibited.
    Prohibited,
}

/// Something that breaks. Rules of nftables hold for IPv4 and IPv6 alike and look at the destination port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Packets to a port vanish (nftables `drop`).
    Drop(Hook, Transport, u16),
    /// Packets to a port are refused (nftables `reject`).
    Reject(Hook, Transport, u16, Answer),
    /// What the namespace sends to a TCP port goes to another one of its own (iptables REDIRECT).
    Redirect {
        /// The port asked for.
        port: u16,
        /// The port that answers.
        to: u16,
    },
    /// What the namespace sends to TCP ports over IPv4 goes to a proxy of its own, unless the proxy's user sends it
    /// (nftables `redirect`, as a mesh's init container makes it).
    Capture {
        /// The ports asked for.
        ports: Vec<u16>,
        /// The port that the proxy listens on.
        to: u16,
        /// The proxy's user.
        but: u32,
    },
    /// What the namespace sends to an address goes to another (iptables DNAT, as kube-proxy does).
    Dnat {
        /// The address asked for.
        asked: SocketAddr,
        /// The address that answers.
        to: SocketAddr,
    },
    /// A BPF program on a device drops what goes to a TCP port, as Cilium and the VPC CNI enforce policy.
    Policy {
        /// The device.
        device: String,
        /// When it leaves through the device; else when it comes in.
        egress: bool,
        /// The port.
        port: u16,
    },
    /// There are no default routes.
    NoRoute,
    /// The route to an address says unreachable.
    Unreachable(IpAddr),
    /// What the namespace, a node, sends to a pod of its own goes to a neighbour that is not there, and nobody says so.
    BlackHole(IpAddr),
}

/// A fault that lasts until it is healed or dropped.
#[derive(Debug)]
#[must_use = "the fault heals when this is dropped"]
pub struct Broken {
    netns: NetNs,
    /// Commands that undo it.
    undo: Vec<Vec<String>>,
}

impl Broken {
    /// Undoes the fault.
    ///
    /// # Errors
    /// When a rule or route is gone already.
    pub fn heal(mut self) -> Result<()> {
        for command in std::mem::take(&mut self.undo) {
            run(&self.netns, &command)?;
        }
        Ok(())
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        for command in std::mem::take(&mut self.undo) {
            if let Err(error) = run(&self.netns, &command) {
                eprintln!("lab: cannot heal: {error:#}");
            }
        }
    }
}

/// Breaks something in a namespace.
///
/// # Errors
/// When the tool that makes the rule or the route refuses.
pub fn apply(netns: &NetNs, fault: Fault) -> Result<Broken> {
    let mut broken = Broken {
        netns: netns.clone(),
        undo: Vec::new(),
    };
    match fault {
        Fault::Drop(hook, transport, port) => broken.filter(hook, transport, port, "drop")?,
        Fault::Reject(hook, transport, port, answer) => {
            let answer = match answer {
                Answer::Reset => "reject with tcp reset",
                Answer::PortUnreachable => "reject with icmpx type port-unreachable",
                Answer::Prohibited => "reject with icmpx type admin-prohibited",
            };
            broken.filter(hook, transport, port, answer)?;
        }
        Fault::Redirect { port, to } => {
            for tool in ["iptables", "ip6tables"] {
                broken.nat(
                    tool,
                    &format!("-p tcp --dport {port} -j REDIRECT --to-ports {to}"),
                )?;
            }
        }
        Fault::Capture { ports, to, but } => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let rules = format!(
                "type nat hook output priority -100\noifname lo return\nmeta skuid {but} return\n\
                 meta nfproto ipv4 tcp dport {{ {} }} redirect to :{to}",
                ports.join(", ")
            );
            broken.table(&rules)?;
        }
        Fault::Dnat { asked, to } => {
            let tool = if asked.is_ipv4() { "iptables" } else { "ip6tables" };
            let rule = format!(
                "-p tcp -d {} --dport {} -j DNAT --to-destination {to}",
                asked.ip(),
                asked.port()
            );
            broken.nat(tool, &rule)?;
        }
        Fault::Policy { device, egress, port } => {
            let direction = if egress { "egress" } else { "ingress" };
            run(netns, &words(&format!("tc qdisc add dev {device} clsact")))?;
            broken
                .undo
                .push(words(&format!("tc qdisc del dev {device} clsact")));
            let code = drop_by_port(port);
            let filter = [
                "tc", "filter", "add", "dev", &device, direction, "bpf", "da", "bytecode", &code,
            ];
            run(netns, &filter.map(str::to_owned))?;
        }
        Fault::NoRoute => {
            for family in ["-4", "-6"] {
                let routes = netns.run("ip", &[family, "route", "show", "default"])?;
                for route in routes.lines().filter(|line| !line.trim().is_empty()) {
                    broken.route(family, "del", "add", route)?;
                }
            }
        }
        Fault::Unreachable(ip) => {
            let family = if ip.is_ipv4() { "-4" } else { "-6" };
            broken.route(family, "add", "del", &format!("unreachable {ip}"))?;
        }
        Fault::BlackHole(ip) => {
            run(
                netns,
                &words(&format!(
                    "ip neigh replace {ip} lladdr 02:00:00:00:00:01 nud permanent dev cni0"
                )),
            )?;
            broken.undo.push(words(&format!("ip neigh del {ip} dev cni0")));
        }
    }
    Ok(broken)
}

impl Broken {
    fn filter(&mut self, hook: Hook, transport: Transport, port: u16, verdict: &str) -> Result<()> {
        self.table(&format!(
            "type filter hook {hook} priority 0\n{transport} dport {port} {verdict}"
        ))
    }

    /// A table with one chain of these lines.
    fn table(&mut self, chain: &str) -> Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let table = format!("obsflow_fault_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let rules = format!("table inet {table} {{\nchain c {{\n{chain}\n}}\n}}\n");
        self.netns.run_with("nft", &["-f", "-"], &rules)?;
        self.undo.push(words(&format!("nft delete table inet {table}")));
        Ok(())
    }

    fn nat(&mut self, tool: &str, rule: &str) -> Result<()> {
        run(&self.netns, &words(&format!("{tool} -w -t nat -A OUTPUT {rule}")))?;
        self.undo
            .push(words(&format!("{tool} -w -t nat -D OUTPUT {rule}")));
        Ok(())
    }

    fn route(&mut self, family: &str, now: &str, later: &str, route: &str) -> Result<()> {
        run(&self.netns, &words(&format!("ip {family} route {now} {route}")))?;
        self.undo
            .push(words(&format!("ip {family} route {later} {route}")));
        Ok(())
    }
}

/// Classic BPF, as `tc` takes it: TCP to a port is shot (`TC_ACT_SHOT`, 2), everything else goes on (-1). Offsets count
/// from the Ethernet header.
fn drop_by_port(port: u16) -> String {
    [
        "14,40 0 0 12".to_owned(), // ethertype
        "21 0 4 34525".to_owned(), // IPv6? else 6
        "48 0 0 20".to_owned(),    // next header
        "21 0 9 6".to_owned(),     // TCP? else 13
        "40 0 0 56".to_owned(),    // destination port
        format!("21 6 7 {port}"),  // 12, else 13
        "21 0 6 2048".to_owned(),  // IPv4? else 13
        "48 0 0 23".to_owned(),    // protocol
        "21 0 4 6".to_owned(),     // TCP? else 13
        "177 0 0 14".to_owned(),   // length of the IPv4 header
        "72 0 0 16".to_owned(),    // destination port
        format!("21 0 1 {port}"),  // 12, else 13
        "6 0 0 2".to_owned(),
        "6 0 0 4294967295".to_owned(),
    ]
    .join(",")
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn run(netns: &NetNs, command: &[String]) -> Result<()> {
    let args: Vec<&str> = command.iter().skip(1).map(String::as_str).collect();
    netns
        .run(command.first().map_or("", String::as_str), &args)
        .map(drop)
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "output",
            Self::Input => "input",
            Self::Forward => "forward",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
