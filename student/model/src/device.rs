//! Choosing a device at run time: `cpu`, `cuda:0`, `vulkan:0`, `metal:0`.
//!
//! `Device::default()` is never used: it picks by what was compiled in, not by what is there. A device is looked up
//! first, because a missing one otherwise fails on its first operation with a message about shared libraries.

use std::str::FromStr;

use burn::tensor::Device;

use crate::{Error, Result};

/// A device as the user names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor, through Burn's Flex backend and this crate's kernels.
    Cpu,
    /// The n-th CUDA device.
    Cuda(usize),
    /// The n-th Vulkan device.
    Vulkan(usize),
    /// The n-th Metal device.
    Metal(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (kind, index) = text.split_once(':').unwrap_or((text, "0"));
        let index =
            index.parse().map_err(|_| format!("{text:?}: the part after ':' is a device number, as in cuda:0"))?;
        match kind {
            "cpu" if text == "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(index)),
            "vulkan" => Ok(Self::Vulkan(index)),
            "metal" => Ok(Self::Metal(index)),
            _ => Err(format!("{text:?} is not a device; choose cpu, cuda:0, vulkan:0 or metal:0")),
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Vulkan(n) => write!(f, "vulkan:{n}"),
            Self::Metal(n) => write!(f, "metal:{n}"),
        }
    }
}

impl DeviceName {
    /// Opens the device, or says why it cannot be used.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => self.listed(burn::tensor::DeviceType::Cuda, index),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(index) => self.listed(burn::tensor::DeviceType::Vulkan, index),
            #[cfg(feature = "metal")]
            Self::Metal(index) => self.listed(burn::tensor::DeviceType::Metal, index),
            #[cfg(not(all(feature = "cuda", feature = "vulkan", feature = "metal")))]
            _ => Err(Error::invalid(
                "--device",
                format!("{self} is not compiled into this binary"),
                format!("build with `--features {}`, or use --device cpu", self.feature()),
            )),
        }
    }

    #[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
    fn listed(self, kind: burn::tensor::DeviceType, index: usize) -> Result<Device> {
        let found = Device::enumerate(burn::tensor::DeviceFilter::default().with(kind)).into_vec();
        let count = found.len();
        found.into_iter().nth(index).ok_or_else(|| {
            Error::invalid(
                "--device",
                format!("{self} is not there ({count} such devices found)"),
                "check the driver, or use --device cpu",
            )
        })
    }

    fn feature(self) -> &'static str {
        match self {
            Self::Cpu => "flex",
            Self::Cuda(_) => "cuda",
            Self::Vulkan(_) => "vulkan",
            Self::Metal(_) => "metal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_wrong_ones_say_what_to_write() {
        for name in ["cpu", "cuda:0", "vulkan:1", "metal:0"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        for name in ["gpu", "cuda:x", "cpu:1", ""] {
            assert!(name.parse::<DeviceName>().is_err(), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_is_a_clear_error() {
        let message = DeviceName::Cuda(0).open().unwrap_err().to_string();
        assert!(message.contains("--features cuda") && message.contains("cuda:0"), "{message}");
    }
}
