//! Every page of the gate's, in both languages.
