//! Choosing an endpoint: round robin, least request, outlier state. Time and randomness are arguments.
