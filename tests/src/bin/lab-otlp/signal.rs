//! The three signals, as far as receivers care.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// What is worth knowing of a request.
pub(crate) struct Summary {
    pub(crate) service: Option<String>,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Summary {
    fn new<'a>(message: &impl Message, resource: Option<&'a Resource>, items: usize) -> Self {
        let service = resource
            .into_iter()
            .flat_map(|resource: &'a Resource| &resource.attributes)
            .find(|attribute| attribute.key == "service.name")
            .and_then(|attribute| match attribute.value.as_ref()?.value.as_ref()? {
                Value::StringValue(name) => Some(name.clone()),
                _ => None,
            });
        Self {
            service,
            items,
            bytes: message.encoded_len(),
        }
    }
}

/// One of the three signals: its request, and what is worth knowing of it.
pub(crate) trait Signal: Message + Default + Clone + Sync + 'static {
    const NAME: &'static str;
    type Answer: Message + Default;
    /// The answer that one item was rejected.
    fn partial() -> Self::Answer;
    fn summary(&self) -> Summary;
}

impl Signal for ExportTraceServiceRequest {
    const NAME: &'static str = "traces";
    type Answer = ExportTraceServiceResponse;
    fn partial() -> Self::Answer {
        Self::Answer {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 1,
                error_message: "one of them is older than the retention".to_owned(),
            }),
        }
    }
    fn summary(&self) -> Summary {
        let spans = self
            .resource_spans
            .iter()
            .flat_map(|r| &r.scope_spans)
            .map(|scope| scope.spans.len())
            .sum();
        Summary::new(
            self,
            self.resource_spans.first().and_then(|r| r.resource.as_ref()),
            spans,
        )
    }
}

impl Signal for ExportMetricsServiceRequest {
    const NAME: &'static str = "metrics";
    type Answer = ExportMetricsServiceResponse;
    fn partial() -> Self::Answer {
        Self::Answer {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 1,
                error_message: "one of them is older than the retention".to_owned(),
            }),
        }
    }
    fn summary(&self) -> Summary {
        let metrics = self
            .resource_metrics
            .iter()
            .flat_map(|r| &r.scope_metrics)
            .map(|s| s.metrics.len())
            .sum();
        Summary::new(
            self,
            self.resource_metrics.first().and_then(|r| r.resource.as_ref()),
            metrics,
        )
    }
}

impl Signal for ExportLogsServiceRequest {
    const NAME: &'static str = "logs";
    type Answer = ExportLogsServiceResponse;
    fn partial() -> Self::Answer {
        Self::Answer {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: 1,
                error_message: "one of them is older than the retention".to_owned(),
            }),
        }
    }
    fn summary(&self) -> Summary {
        let logs = self
            .resource_logs
            .iter()
            .flat_map(|r| &r.scope_logs)
            .map(|scope| scope.log_records.len())
            .sum();
        Summary::new(
            self,
            self.resource_logs.first().and_then(|r| r.resource.as_ref()),
            logs,
        )
    }
}
