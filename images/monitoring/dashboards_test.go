package monitoring_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// panel is a picture of a dashboard: a title, what it is measured in, and queries
// with their legends in turn.
type panel struct {
	title, unit string
	queries     []string
}

// row is panels that stand side by side under a heading.
type row struct {
	title  string
	panels []panel
}

const (
	boxes   = `{job="preau-box", instance=~"$instance"}`
	servers = `{job="preau-region", region=~"$region"}`
)

// rate is a counter's rate, summed by labels.
func rate(metric, selector, by string) string {
	return "sum by (" + by + ") (rate(" + metric + selector + "[$__rate_interval]))"
}

var boxRows = []row{
	{"What the class gets", []panel{
		{"Requests by result", "reqps", []string{rate("preau_edge_requests_total", boxes, "result"), "{{result}}"}},
		{"Bytes to devices, by where they came from", "Bps", []string{rate("preau_edge_sent_bytes_total", boxes, "source"), "{{source}}", rate("preau_shelf_sent_bytes_total", boxes, "job"), "published"}},
		{"Share that did not cross the school's line", "percentunit", []string{"1 - sum(rate(preau_upstream_received_bytes_total" + boxes + "[$__rate_interval])) / (sum(rate(preau_edge_sent_bytes_total" + boxes + "[$__rate_interval])) + sum(rate(preau_shelf_sent_bytes_total" + boxes + "[$__rate_interval])))", "share"}},
	}},
	{"The line and the sites", []panel{
		{"Bytes over the line", "Bps", []string{rate("preau_upstream_received_bytes_total", boxes, "site"), "{{site}}", rate("preau_parent_received_bytes_total", boxes, "job"), "region", rate("preau_outbox_sent_bytes_total", boxes, "job"), "deposits, up"}},
		{"Is each site reached", "bool_yes_no", []string{"min by (instance, site) (preau_upstream_line_up" + boxes + ")", "{{instance}} {{site}}"}},
		{"Requests to sites by how they ended", "reqps", []string{rate("preau_upstream_requests_total", boxes, "result"), "{{result}}"}},
		{"Round trip and loss to the region", "s", []string{"preau_wire_path_rtt_seconds" + boxes, "{{server}}", "preau_wire_path_loss_ratio" + boxes, "{{server}} loss"}},
	}},
	{"What it keeps", []panel{
		{"Disk", "bytes", []string{"sum(preau_block_disk_bytes" + boxes + ")", "used", "sum(preau_block_budget_bytes" + boxes + ")", "may be used"}},
		{"Stored objects, and removed by cause", "short", []string{"sum(preau_object_stored" + boxes + ")", "stored", "sum by (cause) (increase(preau_object_removed_total" + boxes + "[$__range]))", "{{cause}}"}},
		{"Found damaged", "short", []string{"sum by (instance) (increase(preau_block_damaged_total" + boxes + "[1h]) + increase(preau_object_damaged_total" + boxes + "[1h]))", "{{instance}}"}},
	}},
	{"Its school, its region, its deposits", []panel{
		{"Follows its region", "bool_yes_no", []string{"preau_feed_box_connected" + boxes, "{{instance}}"}},
		{"Published items: wanted, held whole", "short", []string{"sum(preau_follow_wanted_items" + boxes + ")", "wanted", "sum(preau_follow_present_items" + boxes + ")", "held"}},
		{"Neighbours", "short", []string{"sum by (state) (preau_near_boxes" + boxes + ")", "{{state}}"}},
		{"Deposits by state", "short", []string{"sum by (state) (preau_outbox_deposits" + boxes + ")", "{{state}}", "sum(preau_outbox_alone" + boxes + ")", "on one box only"}},
	}},
	{"The program", []panel{
		{"Memory", "bytes", []string{"process_resident_memory_bytes" + boxes, "{{instance}}"}},
		{"Processor", "percentunit", []string{"rate(process_cpu_seconds_total" + boxes + "[$__rate_interval])", "{{instance}}"}},
		{"Version", "short", []string{"count by (version) (preau_build_info" + boxes + ")", "{{version}}"}},
	}},
}

var regionRows = []row{
	{"Can it decide", []panel{
		{"Servers that answer, and voters", "short", []string{"sum by (region) (up" + servers + ")", "{{region}} up", "max by (region) (preau_consensus_voters" + servers + ")", "{{region}} voters"}},
		{"Who leads", "bool_yes_no", []string{"preau_consensus_leader" + servers, "{{instance}}"}},
		{"Entries behind the first", "short", []string{"max by (region) (preau_consensus_applied_index" + servers + ") - on (region) group_right () preau_consensus_applied_index" + servers, "{{instance}}"}},
		{"Changes of leader within an hour", "short", []string{"max by (region) (increase(preau_consensus_leader_changes_total" + servers + "[1h]))", "{{region}}"}},
	}},
	{"Its boxes", []panel{
		{"Boxes that follow", "short", []string{"sum by (instance) (preau_feed_streams" + servers + ")", "{{instance}}", "sum by (region) (preau_feed_waiting" + servers + ")", "{{region}} wait"}},
		{"Why streams end", "ops", []string{rate("preau_feed_ends_total", servers, "reason"), "{{reason}}"}},
		{"Bytes to boxes", "Bps", []string{rate("preau_feed_sent_bytes_total", servers, "instance"), "{{instance}} feed", rate("preau_edge_sent_bytes_total", servers, "instance"), "{{instance}} sites"}},
		{"Handshakes by result", "ops", []string{rate("preau_wire_handshakes_total", servers, "result"), "{{result}}"}},
	}},
	{"Published files", []panel{
		{"Blocks that are missing", "short", []string{"preau_hold_missing_blocks" + servers, "{{instance}}"}},
		{"Blocks held", "bytes", []string{"preau_fileblock_bytes" + servers, "{{instance}}"}},
		{"Changes behind the gateway", "short", []string{"max by (region, bucket) (preau_uplink_behind" + servers + ")", "{{region}} {{bucket}}"}},
	}},
	{"The way to the centre", []panel{
		{"Reached", "bool_yes_no", []string{"max by (region) (preau_uplink_reachable" + servers + ")", "{{region}}"}},
		{"Deposits that wait", "short", []string{"max by (region) (preau_uplink_deposits_waiting" + servers + ")", "{{region}}"}},
		{"Age of the oldest", "s", []string{"max by (region) ((time() - preau_uplink_deposits_oldest_timestamp_seconds" + servers + ") * (preau_uplink_deposits_oldest_timestamp_seconds" + servers + " > bool 0))", "{{region}}"}},
	}},
}

var fleetRows = []row{
	{"A country at a glance", []panel{
		{"Boxes that follow, by region", "short", []string{"sum by (region) (preau_feed_streams)", "{{region}}"}},
		{"Regions without a leader", "short", []string{"count(sum by (region) (preau_consensus_leader) == 0) or vector(0)", "regions"}},
		{"Regions that do not reach the centre", "short", []string{"count(max by (region) (preau_uplink_reachable) == 0) or vector(0)", "regions"}},
		{"Alerts that fire", "short", []string{`sum by (alertname) (ALERTS{alertname=~"Preau.*", alertstate="firing"})`, "{{alertname}}"}},
	}},
	{"What schools are spared", []panel{
		{"Bytes to devices, and over the lines", "Bps", []string{"sum(rate(preau_edge_sent_bytes_total{job=\"preau-box\"}[$__rate_interval])) + sum(rate(preau_shelf_sent_bytes_total[$__rate_interval]))", "to devices", "sum(rate(preau_upstream_received_bytes_total{job=\"preau-box\"}[$__rate_interval])) + sum(rate(preau_parent_received_bytes_total[$__rate_interval]))", "over the lines"}},
		{"Requests by result", "reqps", []string{"sum by (result) (rate(preau_edge_requests_total{job=\"preau-box\"}[$__rate_interval]))", "{{result}}"}},
	}},
	{"The centre", []panel{
		{"Objects in buckets, and held back", "short", []string{"max by (bucket) (preau_central_publish_objects)", "{{bucket}}", "max by (bucket) (preau_central_publish_held_objects)", "{{bucket}} held back"}},
		{"Deposits settled", "ops", []string{"sum by (result) (rate(preau_central_deposits_total[$__rate_interval]))", "{{result}}"}},
		{"Devices sent to their box, and to the site itself", "ops", []string{"sum by (answer) (rate(preau_locate_answers_total[$__rate_interval]))", "{{answer}}", "sum by (why) (rate(preau_locate_origin_total[$__rate_interval]))", "{{why}}"}},
	}},
	{"Upgrades", []panel{
		{"Nodes by version", "short", []string{"count by (job, version) (preau_build_info)", "{{job}} {{version}}"}},
		{"Certificates that run out within a fortnight", "short", []string{"count(preau_enrol_certificate_expiry_timestamp_seconds - time() < 14 * 86400) or vector(0)", "certificates"}},
	}},
}

// dashboards are the files for Grafana, by name.
func dashboards(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"dashboard-box.json":    dashboard(t, "preau-box", "Préau: boxes", boxRows, [2]string{"instance", `label_values(preau_build_info{job="preau-box"}, instance)`}),
		"dashboard-region.json": dashboard(t, "preau-region", "Préau: regions", regionRows, [2]string{"region", `label_values(preau_consensus_voters, region)`}),
		"dashboard-fleet.json":  dashboard(t, "preau-fleet", "Préau: the fleet", fleetRows),
	}
}

// dashboard writes one as Grafana imports it.
func dashboard(t *testing.T, uid, title string, rows []row, variables ...[2]string) string {
	t.Helper()
	type object = map[string]any
	source := object{"type": "prometheus", "uid": "${source}"}
	templates := []object{{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}}
	for _, v := range variables {
		templates = append(templates, object{
			"name": v[0], "label": v[0], "type": "query", "datasource": source, "query": v[1], "refresh": 2, "includeAll": true, "multi": true, "sort": 1,
			"current": object{"text": "All", "value": "$__all"},
		})
	}
	var panels []object
	y := 0
	for _, r := range rows {
		panels = append(panels, object{"id": len(panels) + 1, "type": "row", "title": r.title, "collapsed": false, "gridPos": object{"h": 1, "w": 24, "x": 0, "y": y}, "panels": []object{}})
		y++
		width := 24 / len(r.panels)
		for i, p := range r.panels {
			var targets []object
			for q := 0; q < len(p.queries); q += 2 {
				targets = append(targets, object{"refId": string(rune('A' + q/2)), "datasource": source, "expr": p.queries[q], "legendFormat": p.queries[q+1]})
			}
			panels = append(panels, object{
				"id": len(panels) + 1, "type": "timeseries", "title": p.title, "datasource": source, "targets": targets,
				"gridPos":     object{"h": 8, "w": width, "x": i * width, "y": y},
				"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []object{}},
				"options":     object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi"}},
			})
		}
		y += 8
	}
	var b strings.Builder
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(object{
		"uid": uid, "title": title, "tags": []string{"preau"}, "timezone": "browser", "schemaVersion": 39, "version": 1, "editable": true,
		"refresh": "1m", "time": object{"from": "now-24h", "to": "now"}, "templating": object{"list": templates}, "panels": panels,
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEveryAlertSaysWhatToDoAndIsTested(t *testing.T) {
	alerts, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules := strings.Split(string(alerts), "- alert: ")[1:]
	if len(rules) < 15 {
		t.Errorf("only %d alerts", len(rules))
	}
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, "\n")
		for _, key := range []string{"expr:", "severity:", "summary:", "runbook:"} {
			if strings.Count(rule, key) != 1 {
				t.Errorf("%s has no %s, or several", name, key)
			}
		}
		if !strings.Contains(string(tests), "alertname: "+name+"\n        exp_alerts:") {
			t.Errorf("no test has %s fire", name)
		}
		if !strings.Contains(string(tests), "alertname: "+name+"}") {
			t.Errorf("no test has %s keep still", name)
		}
	}
}
