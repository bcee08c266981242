//! The counters of machines: each number beside the metric that shows it.

/// One number that a machine has counted, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name, as Prometheus sees it. Several numbers may share one.
    pub name: &'static str,
    /// Its meaning; of numbers that share a name, the first one's counts.
    pub help: &'static str,
    /// Labels and their values, which tell numbers of one name apart.
    pub labels: &'static [(&'static str, &'static str)],
    /// How many.
    pub count: u64,
}

/// Declares the counters of a machine since its start. A field's comment is the help of its metric; a field without a
/// metric is shown nowhere.
#[macro_export]
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident {
        $(#[doc = $help:literal] $field:ident $(= $metric:literal $({ $($label:ident: $value:literal),+ })?)?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $help] pub $field: u64,)+
        }

        impl $name {
            /// Those that are shown.
            pub fn metrics(&self) -> Vec<$crate::counters::Metric> {
                vec![$($($crate::counters::Metric {
                    name: $metric,
                    help: $help.trim_ascii(),
                    labels: &[$($((stringify!($label), $value)),+)?],
                    count: self.$field,
                },)?)+]
            }
        }
    };
}
