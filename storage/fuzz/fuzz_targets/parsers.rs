//! Records, footers, marks, removals and superblocks of a volume, made of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder_storage::disk::fuzzing::take_apart(bytes));
