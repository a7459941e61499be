//! What is particular to a directory: crashes between its steps, sidecars, and what its file system refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use penstock_engine::ports::{DeliveryPermit, ErrorClass, ObjectSink, PreparedObject, Put};
use penstock_objects::StoreSink;
use serde_json::Value;

use crate::suite::{batch, directory, metadata, rebuilt_partially, settings};

fn sink(path: &Path) -> StoreSink {
    StoreSink::new(settings(directory(path)), None).unwrap()
}

async fn put(sink: &StoreSink, object: &PreparedObject) -> Put {
    sink.put(DeliveryPermit::unproven(), &sink.destination(), object).await.unwrap()
}

fn files_of(root: &Path, object: &PreparedObject) -> (PathBuf, PathBuf) {
    let file = root.join(&object.key);
    let name = file.file_name().unwrap().to_str().unwrap();
    (file.clone(), file.with_file_name(format!(".{name}.json")))
}

fn sidecar(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// All names in the directory of the object, hidden ones included.
fn names(file: &Path) -> Vec<String> {
    let entries = fs::read_dir(file.parent().unwrap()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_object_is_a_file_with_its_sidecar_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let sink = sink(root.path());
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    assert_eq!(put(&sink, &object).await, Put::Written);
    let (file, beside) = files_of(root.path(), &object);
    assert_eq!(fs::read(&file).unwrap(), b"a\n");
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(names(&file), [format!(".{name}.json"), name]);
    let there = sidecar(&beside);
    assert_eq!(there.as_object().unwrap().len(), object.metadata.len());
    for (name, value) in &object.metadata {
        assert_eq!(there[*name], value.as_str(), "{name}");
    }
}

/// Leaves what a crash left: given the object's file, its sidecar and the object.
type Leave = fn(&Path, &Path, &PreparedObject);

#[tokio::test]
async fn a_crash_at_any_step_leaves_no_object_and_the_repeat_succeeds() {
    let steps: [(&str, Leave); 4] = [
        ("folders", |_, _, _| {}),
        ("hidden file", |file, _, _| {
            fs::write(file.with_file_name(format!(".{}.1-1.tmp", file.file_name().unwrap().to_str().unwrap())), b"a")
                .unwrap();
        }),
        ("sidecar", |_, beside, object| {
            let text: std::collections::BTreeMap<_, _> = object.metadata.iter().cloned().collect();
            fs::write(beside, serde_json::to_vec(&text).unwrap()).unwrap();
        }),
        ("sidecar of another version", |_, beside, object| {
            let sha256 = metadata(object, "penstock-sha256").unwrap();
            fs::write(beside, format!("{{\"penstock-sha256\":\"{sha256}\",\"penstock-version\":\"9\"}}")).unwrap();
        }),
    ];
    for (step, leave) in steps {
        let root = tempfile::tempdir().unwrap();
        let sink = sink(root.path());
        let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
        let (file, beside) = files_of(root.path(), &object);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        leave(&file, &beside, &object);
        let readback = sink.readback().unwrap();
        assert_eq!(readback.list().await.unwrap(), [], "{step}: nothing that a reader takes for an object");
        assert_eq!(sink.digest_of(&sink.destination(), &object.key).await.unwrap(), None);
        assert_eq!(put(&sink, &object).await, Put::Written, "{step}");
        assert_eq!(put(&sink, &object).await, Put::AlreadyThere, "{step}");
        assert_eq!(readback.list().await.unwrap().len(), 1, "{step}");
    }
}

#[tokio::test]
async fn a_sidecar_that_a_part_left_gives_way_to_the_whole() {
    let root = tempfile::tempdir().unwrap();
    let sink = sink(root.path());
    let whole = batch(&sink, 1, &[b"a", b"b"], None);
    let part = rebuilt_partially(&sink, &whole.intent, 2, &[b"b"]).remove(0);
    let whole = &whole.objects[0];
    let (file, beside) = files_of(root.path(), whole);
    assert_eq!(put(&sink, &part).await, Put::Written);
    // As if the part had never been linked.
    fs::remove_file(&file).unwrap();
    assert_eq!(put(&sink, whole).await, Put::Written);
    assert_eq!(sidecar(&beside)["penstock-sha256"], metadata(whole, "penstock-sha256").unwrap());
    assert_eq!(sidecar(&beside).get("penstock-partial"), None);
}

#[tokio::test]
async fn the_content_decides_and_mends_a_sidecar_that_does_not_belong_to_it() {
    let root = tempfile::tempdir().unwrap();
    let sink = sink(root.path());
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    let (file, beside) = files_of(root.path(), &object);
    assert_eq!(put(&sink, &object).await, Put::Written);
    for text in [Some("{\"penstock-sha256\":\"00\"}"), Some("not JSON"), None] {
        match text {
            Some(text) => fs::write(&beside, text).unwrap(),
            None => fs::remove_file(&beside).unwrap(),
        }
        assert_eq!(sink.digest_of(&sink.destination(), &object.key).await.unwrap(), Some(object.sha256));
        assert_eq!(put(&sink, &object).await, Put::AlreadyThere);
        assert_eq!(sidecar(&beside)["penstock-sha256"], metadata(&object, "penstock-sha256").unwrap());
    }
    // A file that was damaged is not taken for the object, whatever its sidecar says.
    fs::write(&file, b"b\n").unwrap();
    let error = sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected);
    assert_eq!(fs::read(&file).unwrap(), b"b\n", "nothing is ever replaced");
}

#[tokio::test]
async fn a_put_never_creates_the_directory_itself() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("mounted");
    let sink = sink(&path);
    assert!(sink.probe(&sink.destination()).await.unwrap(), "the probe creates it");
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    // Unmounted: writing below would hide the objects from the other workers.
    fs::remove_dir(&path).unwrap();
    let error = sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    assert!(!path.exists());
    let elsewhere = directory(&root.path().join("recorded elsewhere"));
    assert!(!sink.probe(&elsewhere).await.unwrap(), "another directory is not created");
    assert!(!root.path().join("recorded elsewhere").exists());
}

#[tokio::test]
async fn a_recorded_directory_that_is_not_the_own_one_is_written_to() {
    let (own, recorded) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = sink(own.path());
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    assert_eq!(sink.put(DeliveryPermit::unproven(), &directory(recorded.path()), &object).await.unwrap(), Put::Written);
    assert!(recorded.path().join(&object.key).exists());
    let s3 = penstock_core::intent::Destination::S3 { bucket: "lake".to_owned(), region: String::new() };
    assert_eq!(
        sink.put(DeliveryPermit::unproven(), &s3, &object).await.unwrap_err().class,
        ErrorClass::Denied,
        "it has no way to S3"
    );
}

#[tokio::test]
async fn keys_that_leave_the_directory_or_hide_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let sink = sink(&root.path().join("out"));
    assert!(sink.probe(&sink.destination()).await.unwrap());
    let mut object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    for key in ["../escaped", "/escaped", "a/../../escaped", "a//b", "", "a/.hidden"] {
        key.clone_into(&mut object.key);
        let error = sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Rejected, "{key}");
    }
    assert_eq!(names(&root.path().join("out")), ["out"]);
}

#[tokio::test]
async fn what_the_file_system_refuses_is_said_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("below")] {
        let sink = sink(&path);
        let error = sink.probe(&sink.destination()).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{error}");
        assert!(error.to_string().contains("a file stands where a directory has to be"), "{error}");
    }
    let sink = sink(root.path());
    let mut object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    object.key = "n".repeat(300);
    let error = sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected, "{error}");

    let closed = root.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(closed.join("root may"), b"").is_ok() {
        // Nothing is closed to this user.
        return;
    }
    let sink = self::sink(&closed);
    let error = sink.probe(&sink.destination()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error}");
}
