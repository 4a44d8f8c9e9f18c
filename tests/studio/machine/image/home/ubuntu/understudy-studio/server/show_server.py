"""The show server of a machine of the rig: says how it is, and what its OBS does.

Speaks what the coordinator asks of a show server, and asks OBS anew each time, so that what it says is never old.
"""

import base64
import hashlib
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import websocket

PASSWORD = json.load(
    open(os.path.expanduser("~/.config/obs-studio/plugin_config/obs-websocket/config.json"))
)["server_password"]
STARTED = time.monotonic()
# Longest wait for OBS: the coordinator gives a probe on air a second.
OBS_DEADLINE_S = 0.5

showing = None


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def obs_says(*requests):
    """The answers of OBS to these requests, or None if it does not give them."""
    try:
        obs = websocket.create_connection("ws://127.0.0.1:4455", timeout=OBS_DEADLINE_S)
        try:
            hello = json.loads(obs.recv())["d"]
            secret = digest(PASSWORD + hello["authentication"]["salt"])
            answer = digest(secret + hello["authentication"]["challenge"])
            obs.send(json.dumps({"op": 1, "d": {"rpcVersion": 1, "authentication": answer, "eventSubscriptions": 0}}))
            obs.recv()
            answers = []
            for request in requests:
                obs.send(json.dumps({"op": 6, "d": {"requestType": request, "requestId": request}}))
                answers.append(json.loads(obs.recv())["d"]["responseData"])
            return answers
        finally:
            obs.close()
    except (OSError, ValueError, KeyError, websocket.WebSocketException):
        return None


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/api/status":
            return self.say(404, {"error": "no such path"})
        status = {"uptime": time.monotonic() - STARTED, "version": "studio", "competition": showing}
        said = obs_says("GetStreamStatus", "GetRecordStatus", "GetCurrentProgramScene")
        status["obsConnected"] = said is not None
        if said is not None:
            stream, record, scene = said
            status["obsIsStreaming"] = stream["outputActive"]
            status["obsIsRecording"] = record["outputActive"]
            status["obsCurrentScene"] = scene["currentProgramSceneName"]
        self.say(200, status)

    def do_POST(self):
        global showing
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        words = self.path.split("/")
        if words[:3] == ["", "api", "competitions"] and words[4:] == ["activate"]:
            showing = words[3]
        elif self.path == "/api/competitions/deactivate":
            showing = None
        else:
            return self.say(404, {"error": "no such path"})
        self.say(200, {"success": True})

    def say(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "3003"))), Answers)
print(f"the show server listens at port {server.server_port}", flush=True)
server.serve_forever()
