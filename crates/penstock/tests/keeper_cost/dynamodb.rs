//! A DynamoDB that costs next to nothing and answers at once: tables of items in memory, and of each condition only whether the
//! item is there and what its counter is. For measurements of what asks it, and for nothing else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

const KEY: &str = "leaseKey";
const COUNTER: &str = "leaseCounter";
/// The value that a condition compares the counter with.
const EXPECTED_COUNTER: &str = ":is_leaseCounter";
/// Items on a page of a scan: less than a MiB of leases.
const PAGE: usize = 1_000;

type Items = BTreeMap<String, Map<String, Value>>;

/// A running one. Dropped, it is gone.
pub(crate) struct Answerer {
    endpoint: String,
    tables: Arc<Tables>,
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct Tables {
    leases: Mutex<Items>,
    updates: AtomicU64,
    scans: AtomicU64,
    refuses_scans: AtomicBool,
}

impl Answerer {
    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let tables = Arc::new(Tables::default());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
        runtime.spawn(serve(listener, Arc::clone(&tables)));
        Self { endpoint, tables, _runtime: runtime }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Updates and scans so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.tables.updates.load(Ordering::Relaxed), self.tables.scans.load(Ordering::Relaxed))
    }

    /// From now on every scan is throttled.
    pub(crate) fn refuse_scans(&self) {
        self.tables.refuses_scans.store(true, Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, tables: Arc<Tables>) {
    while let Ok((stream, _)) = listener.accept().await {
        let tables = Arc::clone(&tables);
        let answer = service_fn(move |request| answer(request, Arc::clone(&tables)));
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new());
        tokio::spawn(server.serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(request: Request<Incoming>, tables: Arc<Tables>) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, said) = match tables.carry_out(&operation, &asked) {
        Ok(said) => (StatusCode::OK, said),
        Err(refused) => (StatusCode::BAD_REQUEST, refused),
    };
    let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    Ok(response.body(Full::new(Bytes::from(said.to_string()))).expect("a sound response"))
}

fn refusal(kind: &str) -> Value {
    json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": kind})
}

impl Tables {
    fn carry_out(&self, operation: &str, asked: &Value) -> Result<Value, Value> {
        let table = asked["TableName"].as_str().unwrap_or_default();
        if table.ends_with("-CoordinatorState") {
            return Err(refusal("ResourceNotFoundException"));
        }
        match operation {
            "DescribeTable" => Ok(description(table)),
            "Scan" if table.ends_with("-gaps") => Ok(json!({"Items": [], "Count": 0})),
            "Scan" => self.scan(asked),
            "PutItem" if !table.ends_with("-gaps") => self.put(asked),
            "UpdateItem" => self.update(asked),
            _ => Ok(json!({})),
        }
    }

    fn put(&self, asked: &Value) -> Result<Value, Value> {
        let item = asked["Item"].as_object().ok_or_else(|| refusal("ValidationException"))?;
        let key = key_of(&asked["Item"]);
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.contains_key(&key) {
            return Err(refusal("ConditionalCheckFailedException"));
        }
        leases.insert(key, item.clone());
        Ok(json!({}))
    }

    fn update(&self, asked: &Value) -> Result<Value, Value> {
        self.updates.fetch_add(1, Ordering::Relaxed);
        let values = &asked["ExpressionAttributeValues"];
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let item = leases.get_mut(&key_of(&asked["Key"])).ok_or_else(|| refusal("ConditionalCheckFailedException"))?;
        if values.get(EXPECTED_COUNTER).is_some_and(|expected| item.get(COUNTER) != Some(expected)) {
            return Err(refusal("ConditionalCheckFailedException"));
        }
        let update = asked["UpdateExpression"].as_str().unwrap_or_default();
        let (sets, removes) = update.split_once(" REMOVE ").unwrap_or((update, ""));
        let name = |placeholder: &str| asked["ExpressionAttributeNames"][placeholder].as_str().map(str::to_owned);
        for set in sets.trim_start_matches("SET ").split(", ") {
            let (attribute, value) = set.split_once(" = ").ok_or_else(|| refusal("ValidationException"))?;
            let attribute = name(attribute).ok_or_else(|| refusal("ValidationException"))?;
            item.insert(attribute, values[value].clone());
        }
        for attribute in removes.split(", ").filter_map(name) {
            item.remove(&attribute);
        }
        Ok(json!({"Attributes": item}))
    }

    fn scan(&self, asked: &Value) -> Result<Value, Value> {
        if self.refuses_scans.load(Ordering::Relaxed) {
            return Err(refusal("ThrottlingException"));
        }
        let after = key_of(&asked["ExclusiveStartKey"]);
        if after.is_empty() {
            self.scans.fetch_add(1, Ordering::Relaxed);
        }
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let page: Vec<_> = leases.range((Bound::Excluded(after), Bound::Unbounded)).take(PAGE).collect();
        let items: Vec<&Map<String, Value>> = page.iter().map(|(_, item)| *item).collect();
        match page.last().filter(|_| page.len() == PAGE) {
            Some((last, _)) => Ok(json!({"Items": items, "LastEvaluatedKey": {KEY: {"S": last}}})),
            None => Ok(json!({"Items": items})),
        }
    }
}

fn key_of(item: &Value) -> String {
    item[KEY]["S"].as_str().unwrap_or_default().to_owned()
}

fn description(table: &str) -> Value {
    let keys: &[(&str, &str)] =
        if table.ends_with("-gaps") { &[(KEY, "HASH"), ("noticedAt#uuid", "RANGE")] } else { &[(KEY, "HASH")] };
    let schema: Vec<Value> = keys.iter().map(|(name, kind)| json!({"AttributeName": name, "KeyType": kind})).collect();
    let types: Vec<Value> = keys.iter().map(|(name, _)| json!({"AttributeName": name, "AttributeType": "S"})).collect();
    json!({"Table": {
        "TableName": table, "TableStatus": "ACTIVE", "KeySchema": schema, "AttributeDefinitions": types,
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
    }})
}
