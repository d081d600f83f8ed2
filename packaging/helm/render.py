"""Lints and renders the chart with Helm's own library and looks at what comes out: packaging/helm/render.py FOLDER.

Leaves the rendered configuration in FOLDER/countersign.toml. Needs helm-python-sdk and PyYAML on the path.
"""

import pathlib
import sys

import helm_python
import yaml

CHART = pathlib.Path(__file__).parent / "countersign"
EVERYTHING = {
    "monitoring": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboards": {"enabled": True}},
    "autoscaling": {"enabled": True},
    "restartOnChange": True,
}


def rendered(values):
    """All objects by kind."""
    manifests = helm_python.Chart.load(CHART).render(values, name="proxy", namespace="default")
    objects = {}
    for path, text in manifests.items():
        if path.endswith(".txt"):
            continue
        for document in yaml.safe_load_all(text):
            if document:
                objects.setdefault(document["kind"], []).append(document)
    return objects


def main(folder):
    report = helm_python.lint(CHART, strict=True)
    found = [message for message in report["messages"] if message["severity"] >= 2]
    assert not found and not report.get("errors"), report

    usual, all_of_it = rendered({}), rendered(EVERYTHING)
    assert "ServiceMonitor" not in usual and "HorizontalPodAutoscaler" not in usual, usual.keys()

    deployment = usual["Deployment"][0]["spec"]
    pod = deployment["template"]["spec"]
    proxy = pod["containers"][0]
    assert deployment["replicas"] == 2 and "replicas" not in all_of_it["Deployment"][0]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
    assert pod["automountServiceAccountToken"] is False
    for container in [proxy, *pod["initContainers"]]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"]["drop"] == ["ALL"]
    probes = {name: proxy[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert probes["readiness"] == {"path": "/ready", "port": "admin"}, probes
    assert probes["liveness"] == probes["startup"] == {"path": "/live", "port": "admin"}, probes
    assert pod["terminationGracePeriodSeconds"] > 10 + 30

    labels = deployment["template"]["metadata"]["labels"]
    selectors = [deployment["selector"]["matchLabels"], usual["PodDisruptionBudget"][0]["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in usual["Service"]]
    for selector in selectors:
        assert selector.items() <= labels.items(), selector
    names = {port["name"] for port in proxy["ports"]}
    for service in usual["Service"]:
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names

    monitor = all_of_it["ServiceMonitor"][0]["spec"]
    admin = next(service for service in usual["Service"] if service["metadata"]["name"].endswith("-admin"))
    assert monitor["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in admin["spec"]["ports"]}
    assert all(rule["spec"]["groups"] for rule in all_of_it["PrometheusRule"])

    config = next(map_ for map_ in usual["ConfigMap"] if "countersign.toml" in map_["data"])["data"]["countersign.toml"]
    for name, port in (("http", 8080), ("admin", 9901)):
        assert f'address = "0.0.0.0:{port}"' in config, name
    (pathlib.Path(folder) / "countersign.toml").write_text(config)

    try:
        rendered({"replicas": 0})
    except helm_python.HelmError:
        pass
    else:
        raise AssertionError("the schema lets `replicas: 0` pass")
    print(f"rendered {sum(map(len, all_of_it.values()))} objects:", ", ".join(sorted(all_of_it)))


if __name__ == "__main__":
    main(*sys.argv[1:])
