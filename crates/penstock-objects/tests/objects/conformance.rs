//! Every store of objects keeps the same promises. (S3 is in a file of its own.)

use std::sync::Arc;

use crate::suite::{conforms, directory, settings};
use object_store::memory::InMemory;
use penstock_core::intent::Destination;
use penstock_objects::StoreSink;

#[tokio::test]
async fn a_directory_conforms() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("not/yet/there");
    conforms(|change| {
        let mut settings = settings(directory(&root));
        change(&mut settings);
        Arc::new(StoreSink::new(settings, None).unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_store_in_memory_conforms() {
    let store = Arc::new(InMemory::new());
    conforms(|change| {
        let mut settings = settings(Destination::S3 { bucket: "lake".to_owned(), region: String::new() });
        change(&mut settings);
        Arc::new(StoreSink::over(settings, Arc::clone(&store) as _).unwrap())
    })
    .await;
}
