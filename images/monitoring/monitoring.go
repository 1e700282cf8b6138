// Package monitoring holds what watches a country's boxes, regions and gateways:
// Prometheus's scrape configuration and alerts, and Grafana's dashboards.
//
// It has no code of its own. Its tests compare every name in these files with
// what real nodes register, and METRICS.md is written by them.
package monitoring
