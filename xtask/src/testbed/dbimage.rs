//! The image with PostgreSQL 17 and Redis that the demo and the end-to-end tests run: a trimmed Debian root.

use std::path::PathBuf;

use anyhow::Result;

use super::cache::{self, Recipe};
use super::debian;
use super::oci::{Content, Image};

/// Its name. Users `postgres` (999) and `redis` (998); PostgreSQL's programs, pgbench among them, are on PATH by way of
/// `/usr/local/bin`; extensions such as amcheck are there.
pub(crate) const NAME: &str = "dotmesh.io/testbed/database:17";

const PACKAGES: [&str; 3] = ["postgresql-17", "redis-server", "redis-tools"];

/// Large things that neither database needs at run time.
const UNNEEDED: [&str; 6] = [
    "usr/lib/postgresql/17/lib/bitcode",
    "var/lib/postgresql/17",
    "etc/postgresql",
    "usr/share/perl",
    "usr/share/zoneinfo/right",
    "var/lib/dpkg",
];

/// The image file; built when it is not there.
pub(crate) fn image() -> Result<PathBuf> {
    let recipe = Recipe::new("database-image")
        .with(debian::RELEASE)
        .with(PACKAGES.join(" "))
        .with(UNNEEDED.join(" "))
        .with("1");
    let done = recipe.build(|out| {
        let root = out.join("root");
        debian::bootstrap(&root, "main", &PACKAGES)?;
        let log = cache::build_log("database-image")?;
        for (user, id) in [("postgres", "999"), ("redis", "998")] {
            debian::run_inside(&root, &log, &["usermod", "--uid", id, user])?;
            debian::run_inside(&root, &log, &["groupmod", "--gid", id, user])?;
        }
        debian::run_inside(&root, &log, &["install", "-d", "-m", "1777", "/var/run/postgresql"])?;
        debian::run_inside(
            &root,
            &log,
            &["sh", "-c", "ln -s /usr/lib/postgresql/17/bin/* /usr/local/bin/"],
        )?;
        debian::trim(&root)?;
        UNNEEDED
            .iter()
            .try_for_each(|folder| cache::remove_tree(&root.join(folder)))?;
        let image = Image {
            name: NAME.to_owned(),
            entrypoint: vec!["/bin/sh".to_owned()],
            content: Content::Tree(root.clone()),
        };
        image.write(&out.join("image.tar"))?;
        cache::remove_tree(&root)
    })?;
    Ok(done.join("image.tar"))
}
