//! The lab: nodes and pods as network namespaces, with real servers, exporters and faults.
