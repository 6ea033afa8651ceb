//! Which driver serves a device, and whether XDP costs it nothing.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::devices::Device;

/// Drivers with native XDP that keep GRO for what passes: they run it behind the program. An attach resets their
/// rings once. Not here: veth and virtio_net (segmentation offload is lost: 12.9 to 3.8 Gbit/s over a veth, Linux
/// 6.18), ena (halves the usable queues), all others (not known).
const XDP_AT_NO_COST: [&str; 5] = ["i40e", "ice", "igc", "ixgbe", "mlx5_core"];

/// Why a device's received side gets XDP or TC under `mode: auto`: `Ok` for XDP.
pub(super) fn suits_xdp(device: &Device) -> Result<String, String> {
    if device.bare {
        return Err("no link-layer header".to_owned());
    }
    if device.default_route {
        return Err("it carries the default route".to_owned());
    }
    let driver = match &device.kind {
        Some(kind) => kind.clone(),
        None => driver_of(&device.name).unwrap_or_else(|| "unknown".to_owned()),
    };
    if XDP_AT_NO_COST.contains(&driver.as_str()) {
        Ok(format!("driver {driver} loses nothing by XDP"))
    } else {
        Err(format!("driver {driver} is not on the list of those that lose nothing by XDP"))
    }
}

/// `ETHTOOL_GDRVINFO`, include/uapi/linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 3;
const SIOCETHTOOL: libc::c_ulong = 0x8946;

#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut DriverInfo,
    padding: [u8; 16],
}

fn driver_of(device: &str) -> Option<String> {
    // SAFETY: no pointers; the result is checked.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return None;
    }
    // SAFETY: a descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: &raw mut info, padding: [0; 16] };
    let name = device.as_bytes().get(..libc::IFNAMSIZ - 1).unwrap_or(device.as_bytes());
    request.name[..name.len()].copy_from_slice(name);
    // SAFETY: `request` is a whole ifreq (40 bytes) whose data points at a whole ethtool_drvinfo (196 bytes), both
    // alive during the call.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if failed != 0 {
        return None;
    }
    let len = info.driver.iter().position(|byte| *byte == 0).unwrap_or(info.driver.len());
    String::from_utf8(info.driver[..len].to_vec()).ok()
}
