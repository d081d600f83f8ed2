"""A collector of traces that decodes what it is sent with the official messages of OpenTelemetry and prints one line of
JSON for each span. Answers 503 to the first REFUSE requests, and 401 to whoever does not bring the key."""

import http.server
import json
import os
import ssl
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

refuse = int(os.environ.get("REFUSE", "0"))


def plain(value):
    return getattr(value, value.WhichOneof("value"))


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global refuse
        body = self.rfile.read(int(self.headers["content-length"]))
        status = 200
        if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
            status = 400
        elif self.headers["x-key"] != os.environ["KEY"]:
            status = 401
        elif refuse > 0:
            refuse, status = refuse - 1, 503
        else:
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                service = {pair.key: plain(pair.value) for pair in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        line = {
                            "service": service["service.name"],
                            "scope": scope.scope.name,
                            "trace": span.trace_id.hex(),
                            "span": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "name": span.name,
                            "kind": span.kind,
                            "begin": span.start_time_unix_nano,
                            "end": span.end_time_unix_nano,
                            "failed": span.status.code == 2,
                            "facts": {pair.key: plain(pair.value) for pair in span.attributes},
                        }
                        print(json.dumps(line), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Collector)
if "CERTIFICATE" in os.environ:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["CERTIFICATE"], os.environ["CERTIFICATE_KEY"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(json.dumps({"ready": True}), flush=True)
sys.stdout.flush()
server.serve_forever()
