//! Every family of metrics, declared once: what is served and what `docs/metrics.md` says are made from this list.

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the agent runs.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Counts of durations by upper bound, see [`BUCKETS`].
    Histogram,
    /// Always 1; the labels are what it says.
    Info,
}

impl Kind {
    /// Its name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// What OpenMetrics appends to the name of such a family in a sample; classic names have it, too.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// Where numbers come from, and so what may be missing in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Counted in the kernel or by obsflow itself: nothing is missing, whatever the load.
    Exact,
    /// Counted from events: misses what `obsflow_events_lost_total` counts.
    Events,
    /// What diagnosis says, once a second.
    Report,
}

impl Source {
    /// Its name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Events => "events",
            Self::Report => "report",
        }
    }
}

/// A unit that names end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// Its name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

/// A family of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, as Prometheus stores it.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// What they are measured in.
    pub unit: Option<Unit>,
    /// Names of its labels, in order. Those with `workload` have `pod` as well, behind it, when that is asked for.
    pub labels: &'static [&'static str],
    /// Where they come from.
    pub source: Source,
    /// What they say: one sentence, without a full stop.
    pub help: &'static str,
    /// What else is to be known: values of labels, for the page.
    pub note: &'static str,
}

impl Family {
    /// The name without what kind and unit append to it.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        let name = self.name.strip_suffix(self.kind.suffix()).unwrap_or(self.name);
        let unit = self.unit.map_or("", Unit::name);
        name.strip_suffix(unit)
            .and_then(|name| name.strip_suffix('_'))
            .filter(|_| !unit.is_empty())
            .unwrap_or(name)
    }

    /// Whether its series belong to workloads.
    #[must_use]
    pub fn has_workload(&self) -> bool {
        self.labels.contains(&"workload")
    }
}

macro_rules! families {
    ($($id:ident = $name:literal, $kind:ident $(in $unit:ident)?, $source:ident, [$($label:literal),*],
        $help:literal $(, $note:literal)?;)*) => {
        /// Names a family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Id {
            $(#[doc = $help] $id,)*
        }

        impl Id {
            /// Every family, in the order of the page.
            pub const ALL: &'static [Self] = &[$(Self::$id,)*];

            /// What is declared of it.
            #[must_use]
            pub const fn family(self) -> &'static Family {
                match self {
                    $(Self::$id => const { &Family {
                        name: $name,
                        kind: Kind::$kind,
                        unit: { let unit: Option<Unit> = None; $(let _ = unit; let unit = Some(Unit::$unit);)? unit },
                        labels: &[$($label),*],
                        source: Source::$source,
                        help: $help,
                        note: concat!("" $(, $note)?),
                    } },)*
                }
            }
        }
    };
}

families! {
    DnsQueries = "obsflow_dns_queries_total", Counter, Exact, ["namespace", "workload"],
        "DNS queries that workloads sent";
    DnsResponses = "obsflow_dns_responses_total", Counter, Exact, ["namespace", "workload", "rcode"],
        "DNS responses that workloads received",
        "`rcode` is the code of the header by its mnemonic (`NOERROR`, `NXDOMAIN`, `SERVFAIL`), `RCODE` and a number without \
        one, or `malformed` for messages too short to have one.";
    TcpAttempts = "obsflow_tcp_attempts_total", Counter, Exact, ["namespace", "workload", "port"],
        "Attempts to connect to watched ports, as they began",
        "`port` is the one that was asked for. What is not in `obsflow_tcp_connects_total` yet is under way.";
    TcpConnects = "obsflow_tcp_connects_total", Counter, Exact, ["namespace", "workload", "port", "outcome"],
        "Attempts to connect to watched ports, by how they ended",
        "`outcome` is `established`, `refused`, `rejected` (ICMP or REJECT), `unreachable`, `timed-out`, `given-up` (the \
        application gave up while SYNs went unanswered), `abandoned` (it closed before the first SYN time-out), `dropped` (on \
        this node) or `failed` (`connect(2)` failed before a SYN was made).";
    TunnelPackets = "obsflow_tunnel_packets_total", Counter, Exact, ["peer", "direction"],
        "Outer packets of tunnels (VXLAN, Geneve)",
        "`peer` is the address of the other tunnel endpoint, `direction` is `sent` or `received`.";
    TunnelBytes = "obsflow_tunnel_bytes_total", Counter in Bytes, Exact, ["peer", "direction"],
        "Outer bytes of tunnels, from the IP header on";

    DnsLookups = "obsflow_dns_lookups_total", Counter, Events, ["namespace", "workload", "outcome"],
        "Look-ups: whole searches with all their candidates and both families, by how they ended",
        "`outcome` is `resolved`, `nxdomain`, `no-data`, `server-failure`, `unanswered`, `refused` (nobody listens at the name \
        server) or `dropped` (on this node).";
    DnsLookupDuration = "obsflow_dns_lookup_duration_seconds", Histogram in Seconds, Events, ["namespace", "workload"],
        "Time from the first query of a look-up to the answer that decided it, or to giving up";
    DnsUnanswered = "obsflow_dns_unanswered_total", Counter, Events, ["namespace", "workload"],
        "DNS queries that found no answer in the resolver's time";
    SinkConnects = "obsflow_sink_connects_total", Counter, Events,
        ["namespace", "workload", "sink", "outcome", "errno"],
        "Attempts to connect to sinks, by how they ended",
        "`outcome` is as in `obsflow_tcp_connects_total`; `errno` is the name of the socket's error, empty where there is none.";
    SinkHandshakeDuration = "obsflow_sink_handshake_duration_seconds", Histogram in Seconds, Events,
        ["namespace", "workload", "sink"],
        "Time from the SYN to the established connection";
    SinkSentBytes = "obsflow_sink_sent_bytes_total", Counter in Bytes, Events, ["namespace", "workload", "sink"],
        "Payload bytes that sinks acknowledged",
        "Open connections are asked in turns, 64 of them every 5 seconds, closed ones tell at their end.";
    SinkReceivedBytes = "obsflow_sink_received_bytes_total", Counter in Bytes, Events,
        ["namespace", "workload", "sink"],
        "Payload bytes received from sinks";
    SinkRetransmits = "obsflow_sink_retransmits_total", Counter, Events, ["namespace", "workload", "sink", "segment"],
        "Segments to sinks that were sent again",
        "`segment` is `syn` or `data`.";
    Drops = "obsflow_drops_total", Counter, Events, ["namespace", "workload", "sink", "reason"],
        "Packets of workloads that this node dropped",
        "`reason` is the kernel's own, `SKB_DROP_REASON_` taken off. Only reasons that a verdict may rest on are watched.";
    ExportRequests = "obsflow_export_requests_total", Counter, Events,
        ["namespace", "workload", "sink", "signal", "code"],
        "Export requests that could be read (not those inside TLS), by how they were answered",
        "`signal` is `traces`, `metrics`, `logs`, `profiles`, or empty where the path does not tell. `code` is the HTTP status, \
        or gRPC's by name (`OK`, `UNAVAILABLE`), or `http-other` and `grpc-other` for a number that is none; where only frames could be read `grpc-ok` or `grpc-error`; without an answer \
        `cancelled`, `reset` (of the stream) or `closed` (the connection).";

    Verdict = "obsflow_verdict", Gauge, Report,
        ["namespace", "workload", "sink", "signal", "verdict", "reason", "severity"],
        "1 while the verdict holds for an exporter of the workload",
        "Ids are those of [verdicts.md](verdicts.md). Verdicts of severity `starting` are left out; a series is gone when its \
        verdict is. `severity` is `ok`, `unknown`, `warning` or `critical`.";
    Exporters = "obsflow_exporters", Gauge, Report, ["namespace", "workload", "sink", "rung", "state"],
        "Exporters by the state of each rung of their ladder",
        "`rung` is `configured`, `resolved`, `connected`, `sent` or `accepted`; `state` is `ok`, `failed`, `unknown`, `not-reached` \
        or `not-applicable`. An exporter is a container, a destination and a signal.";
    ExportLastSuccess = "obsflow_export_last_success_timestamp_seconds", Gauge in Seconds, Report,
        ["namespace", "workload", "sink", "signal"],
        "When an export was accepted last, in seconds since 1970",
        "Missing until one was. Survives a restart of the agent that has a state file.";

    Events = "obsflow_events_total", Counter, Exact, ["stage"],
        "Records and events that a stage of the pipeline saw",
        "`stage` is `hook` (records that programs were to make), `ring` (those that it had room for) or `decode` (those that \
        were understood).";
    EventsLost = "obsflow_events_lost_total", Counter, Exact, ["stage", "kind"],
        "What a stage of the pipeline lost",
        "`stage` and `kind`: `hook`/`recursion` (calls that the kernel skipped), `ring` and the kind of record that it had no room \
        for, `map`/`connections` and `map`/`counters` (a kernel table was full), `map`/`tunnels` (outer packets to and from peers that \
        the table of tunnels had no room for), `payload`/`rate-limit` (beginnings of messages on \
        a connection that is too fast), `decode`/`undecodable`, `correlate` and what had to be forgotten for want of room.";
    HookAttached = "obsflow_hook_attached", Gauge, Exact, ["hook"],
        "1 while the hook is attached, 0 where it cannot be; absent where it was left out",
        "`obsflow status` says why, and what is not known without it.";
    RingFill = "obsflow_ring_fill_bytes", Gauge in Bytes, Exact, [],
        "Most bytes that waited in the ring buffer within the last 15 to 30 seconds";
    RingSize = "obsflow_ring_size_bytes", Gauge in Bytes, Exact, [],
        "Size of the ring buffer";
    MapEntries = "obsflow_map_entries", Gauge, Exact, ["map"],
        "Entries of the kernel's counter maps",
        "`map` is `connections` (room for 16,384), `dns` (8,192) or `tunnels` (4,096). Entries of a cgroup go half a minute after it, \
        those of a tunnel's peer when no packet came or went for an hour; without room counts are lost, which \
        `obsflow_events_lost_total` says.";
    ProgramRunSeconds = "obsflow_program_run_seconds_total", Counter in Seconds, Exact, ["program"],
        "Time spent in a BPF program while the host kept BPF statistics",
        "The kernel counts only while `sysctl kernel.bpf_stats_enabled` is 1. obsflow never switches it on: it costs every \
        program of the host some 50 ns a call.";
    ProgramRuns = "obsflow_program_runs_total", Counter, Exact, ["program"],
        "Calls of a BPF program while the host kept BPF statistics",
        "As above: divide the one by the other for the time of a call.";
    WatchUp = "obsflow_watch_up", Gauge, Exact, ["resource"],
        "1 while the watch follows the cluster, 0 while it lists or the API is away",
        "None without the Kubernetes API.";
    WatchRestarts = "obsflow_watch_restarts_total", Counter, Exact, ["resource"],
        "How often a watch had to begin again";
    WatchObjects = "obsflow_watch_objects", Gauge, Exact, ["resource"],
        "Objects that a watch knows";
    Series = "obsflow_series", Gauge, Exact, [],
        "Series that are held for this endpoint; a histogram is one";
    SeriesFolded = "obsflow_series_folded_total", Counter, Exact, ["label"],
        "Counts that went to `~other` or `~outside` instead of a series of their own, by the label that was folded",
        "`label` is `workload`, `sink`, `pod` or `peer`; `~outside` is meant to be, and is not counted here.";
    StaleScrapes = "obsflow_stale_scrapes_total", Counter, Exact, [],
        "Scrapes that were answered with the kernel's counters as of an earlier one, because the pipeline was busy";
    BuildInfo = "obsflow_build_info", Info, Exact, ["version", "revision"],
        "What this agent was built from";
}

/// Upper bounds of histograms, in seconds, the last one (infinity) left out: a name server in the same node answers in less
/// than a millisecond, resolvers give up after 5 s and again after 10, a connect after 30 s is as good as none.
pub const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

#[cfg(test)]
#[path = "families_tests.rs"]
mod tests;
