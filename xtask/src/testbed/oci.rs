//! Container images without a container engine: an OCI image layout in a tar, with one uncompressed layer.
//!
//! Stands on the OCI image specification (image-layout, manifest, config). containerd reads the image's name from the
//! annotation `io.containerd.image.name` of the index.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

/// An image to be written.
pub(crate) struct Image {
    /// Its full name, with tag.
    pub(crate) name: String,
    /// Program and arguments that run when the pod says nothing else.
    pub(crate) entrypoint: Vec<String>,
    /// What is in it.
    pub(crate) content: Content,
}

/// What an image's layer is made of.
pub(crate) enum Content {
    /// Programs, as (file here, path in the image without a leading slash).
    Programs(Vec<(PathBuf, String)>),
    /// A whole folder, with owners and modes as they are.
    Tree(PathBuf),
}

impl Image {
    /// Writes it to the file `out`.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        let folder = out.parent().context("an image file needs a folder")?;
        let mut layer = tempfile::NamedTempFile::new_in(folder).context("make a temporary file")?;
        self.write_layer(layer.as_file_mut())
            .with_context(|| format!("write the layer of {}", self.name))?;
        let (layer_digest, layer_size) = digest_of(layer.path())?;

        let config = serde_json::to_vec(&json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &digest(&config), config.len() as u64),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer_size)],
        }))?;
        let mut entry = descriptor(
            "application/vnd.oci.image.manifest.v1+json",
            &digest(&manifest),
            manifest.len() as u64,
        );
        entry["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name});
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

        let file = File::create(out).with_context(|| format!("create {}", out.display()))?;
        let mut tar = tar::Builder::new(BufWriter::new(file));
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", &index)?;
        append(&mut tar, &format!("blobs/sha256/{}", digest(&manifest)), &manifest)?;
        append(&mut tar, &format!("blobs/sha256/{}", digest(&config)), &config)?;
        tar.append_path_with_name(layer.path(), format!("blobs/sha256/{layer_digest}"))?;
        tar.into_inner()?
            .flush()
            .with_context(|| format!("write {}", out.display()))
    }

    fn write_layer(&self, file: &mut File) -> Result<()> {
        let mut tar = tar::Builder::new(BufWriter::new(file));
        match &self.content {
            Content::Programs(programs) => {
                for (source, target) in programs {
                    let mut program = File::open(source).with_context(|| format!("open {}", source.display()))?;
                    let mut header = tar::Header::new_gnu();
                    header.set_size(program.metadata()?.len());
                    header.set_mode(0o755);
                    tar.append_data(&mut header, target, &mut program)?;
                }
            }
            Content::Tree(root) => {
                tar.follow_symlinks(false);
                tar.append_dir_all(".", root)?;
            }
        }
        tar.into_inner()?.flush().context("flush the layer")
    }
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content)
        .with_context(|| format!("add {name}"))
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn digest_of(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex(&hash.finalize()), size));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_names_its_blobs_by_their_digests() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::write(&program, "#!").unwrap();
        let out = dir.path().join("image.tar");
        let content = Content::Programs(vec![(program, "program".to_owned())]);
        Image {
            name: "example/program:1".to_owned(),
            entrypoint: vec!["/program".to_owned()],
            content,
        }
        .write(&out)
        .unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(File::open(&out).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            if let Some(name) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(name, digest(&bytes));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
    }
}
