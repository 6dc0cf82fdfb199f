//! Writes `crds/yaml`.
use std::path::Path;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, text) in dotmesh_crds::yaml::all()? {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml").join(name), text)?;
    }
    Ok(())
}
