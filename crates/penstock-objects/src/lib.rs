//! Objects: encode, compress, name, put if absent; over object_store.
