"""conf/grafana-dashboard.json and conf/prometheus-alerts.yml against what a running puerta exports: every expression parses, and every metric, label
and label value in it exists."""
import json
import re
import urllib.request

import promql_parser
import puerta as rig
import pytest
import yaml
from certs import Authority
from cluster import free_port, wait_for
from mongo_wire import greeted
from mongos import Trio
from prometheus_client.parser import text_string_to_metric_families
from resp import Conn

CONF = rig.ROOT / "conf"
OF_THE_SCRAPE = {"job", "instance"}  # labels that Prometheus adds, and the metric it makes
MADE_BY_PROMETHEUS = {"up": [{}]}
DURATIONS = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}


@pytest.fixture(scope="module")
def exported(cluster):
    """{ name of a sample: [its labels] } of a puerta with both kinds of listeners that have served somebody, and one in TLS."""
    ca = Authority()
    admin, redis, mongodb = free_port(), free_port(), free_port()

    def scrape():
        text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics").read().decode()
        samples = {}
        for family in text_string_to_metric_families(text):
            for s in family.samples:
                samples.setdefault(s.name, []).append(s.labels)
        return samples

    with Trio() as trio:
        p = rig.Puerta(rig.config(rig.listener(cluster, redis, name="cache"), rig.mongo_listener(trio.addresses, mongodb, name="orders", forward="request"),
                                  rig.listener(cluster, free_port(), name="secure", tls=ca.issue("server").options()),
                                  workers=1, admin={"bind": f"127.0.0.1:{admin}"}))
        with Conn(redis) as c, greeted(mongodb) as w:
            assert c.command("SET", "a", "b") == "OK" and w.command({"ping": 1})["ok"] == 1
            yield wait_for("the metrics", 5, scrape)
        assert p.stop() is None
    ca.end()


def alerts():
    for group in yaml.safe_load((CONF / "prometheus-alerts.yml").read_text())["groups"]:
        yield from group["rules"]


def dashboard():
    return json.loads((CONF / "grafana-dashboard.json").read_text())


def panels():
    return [p for p in dashboard()["panels"] if p["type"] != "row"]


def shown():
    """(where, expression, legend) of everything the dashboard asks."""
    d = dashboard()
    for p in panels():
        for t in p["targets"]:
            yield p["title"], t["expr"], t["legendFormat"]
    for a in d["annotations"]["list"]:
        yield a["name"], a["expr"], a["titleFormat"]
    for v in d["templating"]["list"]:
        if asked := re.fullmatch(r"label_values\((.*), (\w+)\)", v.get("definition", "")):
            yield v["name"], asked[1], "{{%s}}" % asked[2]


def parse(expression):
    for variable, duration in DURATIONS.items():
        expression = expression.replace(variable, duration)
    return promql_parser.parse(expression)  # raises what Prometheus would say


def nodes(tree, kind):
    found = []
    promql_parser.walk(tree, lambda n: found.append(n) if isinstance(n, kind) else None)
    return found


def check(expression, exported):
    """What is wrong with an expression, as texts; and the labels its result may have."""
    tree, wrong, labels = parse(expression), [], set(OF_THE_SCRAPE)
    for s in nodes(tree, promql_parser.VectorSelector):
        series = (MADE_BY_PROMETHEUS | exported).get(s.name)
        if not series:
            wrong.append(f"no metric {s.name}")
            continue
        labels |= {name for labelled in series for name in labelled}
        for m in s.matchers.matchers:
            if m.name in OF_THE_SCRAPE or "$" in m.value:
                values = None
            else:
                values = {labelled.get(m.name) for labelled in series}
                wanted = m.value.split("|")  # of a regular expression only alternatives are used
                wrong += [f"{s.name} has no {m.name}=\"{v}\"" for v in wanted if v not in values]
            if values is None and m.name not in OF_THE_SCRAPE and m.name not in series[0]:
                wrong.append(f"{s.name} has no label {m.name}")
    groups = [g.modifier.labels for g in nodes(tree, promql_parser.AggregateExpr) if g.modifier]
    wrong += [f"grouped by {name}, which nothing in it has" for g in groups for name in g if name not in labels]
    return wrong, set.union(*map(set, groups)) if groups else labels


def named(template):
    """Labels that a legend or an annotation names."""
    return set(re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", template))


def test_the_check_finds_what_is_wrong(exported):
    """It would not let pass what it is here for."""
    assert check("rate(puerta_requests_total[5m])", exported)[0] == []
    assert check("puerta_no_such_thing", exported)[0]
    assert check('puerta_node_up{nod="a"}', exported)[0]
    assert check('puerta_node_up{nod=~"$node"}', exported)[0]
    assert check('puerta_reloads_total{result="sour"}', exported)[0]
    assert check("sum by (flavour) (puerta_node_up)", exported)[0]
    for broken in ("rate(puerta_requests_total)", "sum(puerta_clients", "puerta_clients >"):
        with pytest.raises(ValueError):
            parse(broken)


@pytest.mark.parametrize("rule", list(alerts()), ids=lambda r: r["alert"])
def test_alert(rule, exported):
    wrong, labels = check(rule["expr"], exported)
    assert not wrong
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"} and rule["labels"]["severity"] in ("critical", "warning")
    assert "for" not in rule or promql_parser.parse_duration(rule["for"])
    assert rule["annotations"].keys() == {"summary", "description"}
    for text in rule["annotations"].values():
        assert named(text) - {"value"} <= labels, "names a label that the expression does not keep"


def test_alerts_have_names_of_their_own():
    names = [r["alert"] for r in alerts()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("where, expression, legend", [pytest.param(*s, id=s[0]) for s in shown()])
def test_dashboard(where, expression, legend, exported):
    wrong, labels = check(expression, exported)
    assert not wrong
    assert named(legend) <= labels, "the legend names a label that the expression does not keep"


def test_the_dashboard_is_whole():
    """Panels that neither overlap nor leave the grid, ids of their own, the data source a variable, and every variable defined."""
    d, taken = dashboard(), set()
    for p in d["panels"]:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & taken and g["x"] + g["w"] <= 24, p["title"]
        taken |= cells
    assert len({p["id"] for p in d["panels"]}) == len(d["panels"])
    assert {t["datasource"]["uid"] for p in panels() for t in p["targets"]} == {"${source}"}
    defined = {v["name"] for v in d["templating"]["list"]} | {k.lstrip("$") for k in DURATIONS}
    assert set(re.findall(r"\$(\w+)", " ".join(e for _, e, _ in shown()))) <= defined
