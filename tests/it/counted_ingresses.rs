//! Metrics of single Ingresses.

use super::support::{Backend, Gatelet, eventually};

/// The value of a sample, if it is there.
fn sample(gatelet: &Gatelet, name: &str) -> Option<f64> {
    let metrics = gatelet.admin_page("/metrics").1;
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

fn requests(gatelet: &Gatelet, ingress: &str, code: &str) -> Option<f64> {
    let labels = format!("namespace=\"default\",ingress=\"{ingress}\",code=\"{code}\"");
    sample(
        gatelet,
        &format!("gatelet_ingress_requests_total{{{labels}}}"),
    )
}

#[test]
fn requests_are_counted_for_each_ingress() {
    let gatelet = Gatelet::start();
    let (shop, blog) = (Backend::start("shop"), Backend::start("blog"));
    gatelet.serve(
        &shop.manifests("shop", "shop.example.com"),
        "shop.example.com",
    );
    gatelet.serve(
        &blog.manifests("blog", "blog.example.com"),
        "blog.example.com",
    );

    let (before, others) = (
        requests(&gatelet, "shop", "2xx"),
        requests(&gatelet, "blog", "2xx"),
    );
    for _ in 0..5 {
        gatelet.get("shop.example.com", "/");
    }
    assert_eq!(
        requests(&gatelet, "shop", "2xx").expect("counted"),
        before.unwrap_or_default() + 5.0
    );
    assert_eq!(requests(&gatelet, "blog", "2xx"), others);
    assert_eq!(requests(&gatelet, "shop", "4xx"), None);
    let time = "gatelet_ingress_request_duration_seconds_total\
                {namespace=\"default\",ingress=\"shop\"}";
    assert!(sample(&gatelet, time).expect("a sum") > 0.0);

    // An edit keeps the counts, also for responses of gatelet itself.
    gatelet.kubectl(&[
        "annotate",
        "ingress",
        "shop",
        "gatelet.dev/denylist-source-range=0.0.0.0/0",
    ]);
    eventually("the path is closed", || {
        (gatelet.status_of("shop.example.com", "/") == 403).then_some(())
    });
    assert!(requests(&gatelet, "shop", "4xx").expect("counted") >= 1.0);
    assert!(requests(&gatelet, "shop", "2xx").expect("kept") >= 5.0);

    gatelet.kubectl(&["delete", "ingress", "shop"]);
    eventually("the counts are gone", || {
        requests(&gatelet, "shop", "2xx").is_none().then_some(())
    });
    assert_eq!(requests(&gatelet, "blog", "2xx"), others);
}
