//! What an init system and a kubelet would have done: mounts, modules, the loopback device, a pod's cgroup.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use obsflow_vm_guest::RULES_PATH;
use obsflow_vm_guest::scenario::{CONTAINER_ID, POD_NAME, POD_NAMESPACE, POD_UID};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot, uname};
use rustix::time::{ClockId, clock_gettime};

/// The loopback device is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Mounts the kernel's file systems.
pub(crate) fn mount_all() -> anyhow::Result<()> {
    let mounts = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("bpf", "/sys/fs/bpf"),
        ("tracefs", "/sys/kernel/tracing"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ];
    for (kind, target) in mounts {
        fs::create_dir_all(target).with_context(|| format!("making {target}"))?;
        mount(kind, target, kind, MountFlags::empty(), None).with_context(|| format!("mounting {target}"))?;
    }
    Ok(())
}

/// `uname -r`.
pub(crate) fn release() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// Since the kernel started, in milliseconds.
pub(crate) fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or_default()
}

/// Loads one module; its dependencies must be there already.
pub(crate) fn load_module(path: &Path) -> anyhow::Result<()> {
    let module = File::open(path)?;
    finit_module(&module, c"", 0)?;
    Ok(())
}

/// Sets the loopback device up, which also gives it 127.0.0.1 and ::1.
pub(crate) fn loopback_up() -> anyhow::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK_INDEX;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE).context("opening a netlink socket")?;
    socket.bind_auto().context("binding a netlink socket")?;
    socket
        .send_to(&bytes, &SocketAddr::new(0, 0), 0)
        .context("asking for the loopback device")?;
    let (answer, _) = socket
        .recv_from_full()
        .context("waiting for the loopback device")?;
    let answer =
        NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).context("reading a netlink answer")?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => {
            bail!("setting the loopback device up: {}", error.to_io())
        }
        _ => Ok(()),
    }
}

/// The pod's only container, named as kubelet's systemd driver and containerd name it.
pub(crate) fn container_cgroup() -> String {
    let uid = POD_UID.replace('-', "_");
    format!(
        "/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{CONTAINER_ID}.scope"
    )
}

/// Makes the pod: its cgroup, and the log folder that tells its names.
pub(crate) fn make_pod() -> anyhow::Result<()> {
    let logs = format!("/var/log/pods/{POD_NAMESPACE}_{POD_NAME}_{POD_UID}/{POD_NAME}");
    for folder in [container_cgroup(), logs] {
        fs::create_dir_all(&folder).with_context(|| format!("making {folder}"))?;
    }
    Ok(())
}

/// Loads the rule that drops.
pub(crate) fn drop_rule() -> anyhow::Result<()> {
    let output = Command::new("/usr/sbin/nft")
        .args(["-f", RULES_PATH])
        .output()
        .context("running nft")?;
    ensure!(
        output.status.success(),
        "nft: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Switches the machine off.
pub(crate) fn power_off() -> anyhow::Result<()> {
    rustix::fs::sync();
    reboot(RebootCommand::PowerOff).context("switching off")
}
