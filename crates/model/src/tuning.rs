//! How ZFS keeps a volume's data: what zfsprops(7) calls `compression`, `recordsize`, `volblocksize` and `sync`, and whether the
//! space of a block device is reserved.

use std::fmt;
use std::str::FromStr;

use crate::format::VolumeFormat;

const COMPRESSION: &str = "compression";
const RECORDSIZE: &str = "recordsize";
const VOLBLOCKSIZE: &str = "volblocksize";
const THIN: &str = "thin";
const SYNC: &str = "sync";

/// A value of the property `compression`, as ZFS itself shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression(String);

/// A size of blocks in bytes: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockSize(u64);

/// When what a program has asked to be on disk (`fsync(2)`, `O_SYNC`) is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sync {
    /// When the program is told so.
    Standard,
    /// The same, and all else that it writes, too.
    Always,
    /// With the next transaction group, some seconds after the program is told so: what it wrote last is lost with the
    /// node's power. A commit has all that was written before it, as ever.
    Disabled,
}

impl Sync {
    const ALL: [Self; 3] = [Self::Standard, Self::Always, Self::Disabled];

    /// As ZFS writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Always => "always",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Sync {
    type Err = TuningError;

    fn from_str(text: &str) -> Result<Self, TuningError> {
        let known = Self::ALL.into_iter().find(|sync| sync.as_str() == text);
        known.ok_or_else(|| TuningError::Sync(text.chars().take(64).collect()))
    }
}

/// What ZFS would not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TuningError {
    /// No algorithm of OpenZFS.
    #[error("compression {0:?} is none of off, on, lz4, zle, gzip, gzip-1 to gzip-9, zstd, zstd-1 to zstd-19")]
    Compression(String),
    /// No size of blocks.
    #[error("{name} {text:?} is no power of two from {least} to {most}, as 16Ki")]
    BlockSize {
        /// The property.
        name: &'static str,
        /// What was said.
        text: String,
        /// The least that ZFS takes.
        least: BlockSize,
        /// The most.
        most: BlockSize,
    },
    /// No word of OpenZFS.
    #[error("sync {0:?} is none of standard, always and disabled")]
    Sync(String),
    /// Neither yes nor no.
    #[error("thin {0:?} is neither \"true\" nor \"false\"")]
    Thin(String),
}

impl Compression {
    /// As ZFS writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Compression {
    type Err = TuningError;

    fn from_str(text: &str) -> Result<Self, TuningError> {
        let level = |prefix: &str, most: u8| {
            let digits = text.strip_prefix(prefix)?;
            let level: u8 = digits.parse().ok()?;
            ((1..=most).contains(&level) && digits == level.to_string()).then_some(level)
        };
        let known = matches!(text, "off" | "on" | "lz4" | "zle" | "gzip" | "zstd");
        // ZFS shows gzip of its default level without the level.
        if level("gzip-", 9) == Some(6) {
            return Ok(Self("gzip".to_owned()));
        }
        if known || level("gzip-", 9).or_else(|| level("zstd-", 19)).is_some() {
            return Ok(Self(text.to_owned()));
        }
        Err(TuningError::Compression(text.chars().take(64).collect()))
    }
}

impl BlockSize {
    /// The least and the most of a `recordsize`. More than a MiB needs a module's parameter on older releases.
    pub const RECORD: (Self, Self) = (Self(512), Self(1 << 20));
    /// The least and the most of a `volblocksize`. Less than 4 KiB costs more for metadata than for data.
    pub const VOLUME: (Self, Self) = (Self(4 << 10), Self(128 << 10));

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Of so many bytes, if ZFS takes that within these bounds.
    #[must_use]
    pub fn new(bytes: u64, (least, most): (Self, Self)) -> Option<Self> {
        let is_one = bytes.is_power_of_two() && (least.0..=most.0).contains(&bytes);
        is_one.then_some(Self(bytes))
    }

    /// What the property `name` is set to.
    ///
    /// # Errors
    /// For what is no power of two within the bounds.
    pub fn parse(name: &'static str, text: &str, (least, most): (Self, Self)) -> Result<Self, TuningError> {
        let (digits, unit) = match text.as_bytes() {
            [.., b'K', b'i'] => (&text[..text.len() - 2], 1 << 10),
            [.., b'M', b'i'] => (&text[..text.len() - 2], 1 << 20),
            _ => (text, 1),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        let size = bytes.and_then(|bytes| Self::new(bytes, (least, most)));
        size.ok_or_else(|| TuningError::BlockSize {
            name,
            text: text.chars().take(64).collect(),
            least,
            most,
        })
    }
}

impl fmt::Display for BlockSize {
    /// As Kubernetes writes quantities.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 20 => write!(f, "{}Mi", bytes >> 20),
            bytes if bytes >= 1 << 10 => write!(f, "{}Ki", bytes >> 10),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// What is said of a volume; nothing said is what ZFS does by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning {
    /// How data is compressed that is written from now on.
    pub compression: Option<Compression>,
    /// The most that one block of a file holds that is written anew: of a filesystem of ZFS.
    pub recordsize: Option<BlockSize>,
    /// Bytes of a block device's blocks, for ever.
    pub volblocksize: Option<BlockSize>,
    /// Whether a block device reserves nothing: when the pool is full, writes that it took are lost.
    pub thin: Option<bool>,
    /// When what a program has asked to be on disk is there.
    pub sync: Option<Sync>,
}

impl Tuning {
    /// The names by which a StorageClass says it: those of ZFS.
    pub const PARAMETERS: [&str; 5] = [COMPRESSION, RECORDSIZE, VOLBLOCKSIZE, THIN, SYNC];

    /// What a StorageClass says.
    ///
    /// # Errors
    /// For the first value that ZFS would not take.
    pub fn of_parameters<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Result<Self, TuningError> {
        let size = |name, bounds| value(name).map(|text| BlockSize::parse(name, text, bounds)).transpose();
        Ok(Self {
            compression: value(COMPRESSION).map(str::parse).transpose()?,
            recordsize: size(RECORDSIZE, BlockSize::RECORD)?,
            volblocksize: size(VOLBLOCKSIZE, BlockSize::VOLUME)?,
            thin: value(THIN).map(parse_thin).transpose()?,
            sync: value(SYNC).map(str::parse).transpose()?,
        })
    }

    /// Whether a volume that is as the other says is as this one says. What can never be changed is not looked at.
    #[must_use]
    pub fn is_met_by(&self, other: &Self) -> bool {
        let Self {
            compression,
            recordsize,
            volblocksize: _,
            thin,
            sync,
        } = self;
        let compressed = compression.is_none() || *compression == other.compression;
        let recorded = recordsize.is_none() || *recordsize == other.recordsize;
        let synced = sync.is_none() || *sync == other.sync;
        compressed && recorded && synced && thin.is_none_or(|thin| thin == other.is_thin())
    }

    /// Whether both say something of compression, `sync` or the sizes of blocks, and not the same.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        differ(self.compression.as_ref(), other.compression.as_ref())
            || differ(self.recordsize.as_ref(), other.recordsize.as_ref())
            || differ(self.volblocksize.as_ref(), other.volblocksize.as_ref())
            || differ(self.sync.as_ref(), other.sync.as_ref())
    }

    /// Whether a block device reserves nothing.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        self.thin.unwrap_or_default()
    }

    /// What of it concerns volumes of this format.
    #[must_use]
    pub fn of_format(self, format: VolumeFormat) -> Self {
        let is_device = format != VolumeFormat::Zfs;
        Self {
            recordsize: self.recordsize.filter(|_| !is_device),
            volblocksize: self.volblocksize.filter(|_| is_device),
            thin: self.thin.filter(|_| is_device),
            ..self
        }
    }

    /// This, and where it says nothing, the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            compression: self.compression.or(other.compression),
            recordsize: self.recordsize.or(other.recordsize),
            volblocksize: self.volblocksize.or(other.volblocksize),
            thin: self.thin.or(other.thin),
            sync: self.sync.or(other.sync),
        }
    }
}

fn parse_thin(text: &str) -> Result<bool, TuningError> {
    text.parse()
        .map_err(|_| TuningError::Thin(text.chars().take(64).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_those_of_zfs() {
        for good in ["off", "on", "lz4", "zle", "gzip", "gzip-1", "gzip-9", "zstd", "zstd-19"] {
            assert_eq!(good.parse::<Compression>().unwrap().as_str(), good);
        }
        assert_eq!("gzip-6".parse(), "gzip".parse::<Compression>());
        for bad in [
            "",
            "LZ4",
            "gzip-0",
            "gzip-10",
            "zstd-20",
            "zstd-03",
            "zstd-",
            "zstd-fast",
            "lz4 ",
        ] {
            assert!(bad.parse::<Compression>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two_within_their_bounds() {
        for (text, bytes) in [("512", 512), ("4Ki", 4096), ("128Ki", 128 << 10), ("1Mi", 1 << 20)] {
            let size = BlockSize::parse("recordsize", text, BlockSize::RECORD).unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
        for bad in [
            "",
            "256",
            "2Mi",
            "3Ki",
            "16K",
            "16k",
            "-4Ki",
            "1e3",
            "18446744073709551615Mi",
        ] {
            assert!(
                BlockSize::parse("recordsize", bad, BlockSize::RECORD).is_err(),
                "{bad:?}"
            );
        }
        let error = BlockSize::parse("volblocksize", "256Ki", BlockSize::VOLUME).unwrap_err();
        assert_eq!(
            error.to_string(),
            "volblocksize \"256Ki\" is no power of two from 4Ki to 128Ki, as 16Ki"
        );
    }

    #[test]
    fn what_does_not_concern_a_format_is_left_out() {
        let all = Tuning {
            compression: "zstd".parse().ok(),
            recordsize: BlockSize::new(8192, BlockSize::RECORD),
            volblocksize: BlockSize::new(4096, BlockSize::VOLUME),
            thin: Some(true),
            sync: Some(Sync::Always),
        };
        let files = all.clone().of_format(VolumeFormat::Zfs);
        assert_eq!(
            (files.recordsize.is_some(), files.volblocksize, files.thin),
            (true, None, None)
        );
        for format in [VolumeFormat::Ext4, VolumeFormat::Xfs, VolumeFormat::Block] {
            let device = all.clone().of_format(format);
            assert_eq!((device.recordsize, device.thin), (None, Some(true)));
            assert_eq!((&device.compression, device.sync), (&all.compression, all.sync));
        }
        assert_eq!(Tuning::default().or(all.clone()), all);
    }

    #[test]
    fn a_class_says_it_in_the_words_of_zfs() {
        let of = |parameters: &[(&str, &'static str)]| {
            Tuning::of_parameters(|name| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
        };
        assert_eq!(of(&[("poolClass", "ssd")]), Ok(Tuning::default()));
        let said = of(&[("compression", "lz4"), ("recordsize", "16Ki"), ("thin", "true")]).unwrap();
        assert_eq!(said.recordsize.map(BlockSize::bytes), Some(16384));
        assert!(said.is_thin());
        for wrong in [
            ("compression", "best"),
            ("recordsize", "16K"),
            ("volblocksize", "1"),
            ("thin", "yes"),
            ("sync", "off"),
        ] {
            let error = of(&[wrong]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} {:?}", wrong.0, wrong.1)), "{error}");
        }
    }

    #[test]
    fn a_volume_meets_what_is_said_of_it() {
        let of = |compression: &str, thin| Tuning {
            compression: compression.parse().ok(),
            thin,
            ..Tuning::default()
        };
        assert!(Tuning::default().is_met_by(&of("lz4", Some(true))), "nothing is said");
        assert!(of("lz4", None).is_met_by(&of("lz4", None)));
        assert!(!of("lz4", None).is_met_by(&of("zstd", None)));
        assert!(!of("lz4", None).is_met_by(&Tuning::default()));
        assert!(of("", Some(false)).is_met_by(&Tuning::default()));
        assert!(!of("", Some(true)).is_met_by(&Tuning::default()));
        let synced = |sync| Tuning {
            sync,
            ..Tuning::default()
        };
        assert!(!synced(Some(Sync::Disabled)).is_met_by(&Tuning::default()));
        assert!(synced(Some(Sync::Disabled)).contradicts(&synced(Some(Sync::Always))));
        assert!(of("lz4", None).contradicts(&of("zstd", None)));
        assert!(!of("lz4", None).contradicts(&of("", Some(true))));
    }
}
