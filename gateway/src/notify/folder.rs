//! Messages as files, for demonstrations and tests: one JSON document each, named by the message's
//! id, so that one that is written twice is still one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use doorward_plugins::notify::{Handover, Parcel, SendError, Sender};

/// A folder that takes messages.
pub(super) struct Folder {
    place: PathBuf,
}

impl Folder {
    /// Makes the folder, for this user alone, if there is none.
    pub(super) fn open(place: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(place)?;
        Ok(Self { place: place.to_owned() })
    }
}

#[async_trait]
impl Sender for Folder {
    async fn send(&self, parcel: &Parcel<'_>, _: &Handover<'_>) -> Result<(), SendError> {
        let document = serde_json::json!({
            "id": parcel.id,
            "channel": parcel.channel.as_str(),
            "kind": parcel.kind,
            "time": parcel.at.rfc3339(),
            "message": parcel.body,
        });
        let (place, id, text) = (self.place.clone(), parcel.id.to_owned(), document.to_string());
        let written = tokio::task::spawn_blocking(move || write(&place, &id, &text)).await;
        let failed = |error: String| SendError::Later(error);
        written
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Under another name first: whoever looks finds a whole message or none.
fn write(place: &Path, id: &str, text: &str) -> io::Result<()> {
    let unfinished = place.join(format!(".{id}"));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, place.join(format!("{id}.json")))?;
    File::open(place)?.sync_all()
}
