//! What a gate keeps from its start to its end: a configuration that is read again while it runs
//! must not change it.

use crate::GatewayConfig;
use crate::problem::Fault;
use crate::reader::Reader;

/// Notes a problem for each key whose value only a restart can change, and which is not what it was
/// in the `former` configuration.
pub(crate) fn verify_lasting(root: &Reader<'_>, config: &GatewayConfig, former: &GatewayConfig) {
    let listeners = root.tables("listener");
    if listeners.len() == former.listeners.len() {
        for ((reader, listener), former) in
            listeners.iter().zip(&config.listeners).zip(&former.listeners)
        {
            verify(reader, "address", listener.address == former.address);
        }
    } else {
        verify(root, "listener", false);
    }
    if config.store != former.store {
        // Other files are named after it: they need not be told of too.
        return verify(root, "store", false);
    }
    verify(root, "workers", config.workers == former.workers);
    let (reader, now, then) = (root.table("operations"), &config.operations, &former.operations);
    verify(&reader, "address", now.address == then.address);
    verify(&reader, "socket", now.socket == then.socket);
    let (reader, now, then) = (root.table("audit"), &config.audit, &former.audit);
    verify(&reader, "file", now.file == then.file);
    verify(&reader, "keep", now.keep == then.keep);
    verify(&reader, "checkpoint_records", now.checkpoint_records == then.checkpoint_records);
    verify(&reader, "checkpoint_interval", now.checkpoint_interval == then.checkpoint_interval);
    verify(&reader, "key_file", now.key_file == then.key_file);
    verify(&reader, "queue", now.queue == then.queue);
    let (now, then) = (&config.second_factor, &former.second_factor);
    verify(&root.table("second_factor"), "key_file", now.key_file == then.key_file);
    let (now, then) = (&config.rate_limits, &former.rate_limits);
    verify(&root.table("rate_limit"), "keys_max", now.keys_max == then.keys_max);
}

fn verify(reader: &Reader<'_>, key: &str, is_same: bool) {
    if !is_same {
        let reason = "is not what the gate was started with, and holds until it ends.";
        let advice = "Restart the gate, or put back what stood here.";
        reader.problem(key, Fault::new(reason, advice));
    }
}
