"""Paho's Python client against a broker. Prints one JSON line per case: {"name", "problem"}.

Started by paho.test.ts with host, CA file, and the ports of TCP, TLS and WebSocket listeners.
"""

import json
import queue
import ssl
import sys
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, CA_FILE = sys.argv[1], sys.argv[2]
PORTS = {"tcp": int(sys.argv[3]), "tls": int(sys.argv[4]), "websockets": int(sys.argv[5])}
WITHIN_S = 15
count = 0


def unique(name):
    global count
    count += 1
    return f"{name}-{count}"


def check(condition, text):
    if not condition:
        raise AssertionError(text)


class Judge:
    """A client that waits for its CONNACK and SUBACKs and collects what it receives."""

    def __init__(self, transport, v5, client_id=None, lasting=False, will=None):
        self.v5 = v5
        self.received = queue.Queue()
        self.connected = threading.Event()
        self.granted = queue.Queue()
        self.session_present = None
        options = {} if v5 else {"clean_session": not lasting}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=client_id or unique("paho"),
            protocol=paho.MQTTv5 if v5 else paho.MQTTv311,
            transport="websockets" if transport == "websockets" else "tcp",
            reconnect_on_failure=False,
            **options,
        )
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        if transport == "tls":
            self.client.tls_set(ca_certs=CA_FILE, cert_reqs=ssl.CERT_REQUIRED)
        if will is not None:
            self.client.will_set(will, "gone", qos=1)
        self.client.on_connect = self.on_connect
        self.client.on_message = lambda client, data, message: self.received.put(message)
        self.client.on_subscribe = lambda client, data, mid, codes, props: self.granted.put(codes)
        properties = None
        if v5 and lasting:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600
        if v5:
            self.client.connect(
                HOST, PORTS[transport], 60, clean_start=not lasting, properties=properties
            )
        else:
            self.client.connect(HOST, PORTS[transport], 60)
        self.client.loop_start()
        check(self.connected.wait(WITHIN_S), "no CONNACK")

    def on_connect(self, client, data, flags, code, properties):
        self.session_present = flags.session_present
        if code == 0:
            self.connected.set()

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, options=SubscribeOptions(qos)) if self.v5 else (
            self.client.subscribe(topic, qos)
        )
        codes = self.granted.get(timeout=WITHIN_S)
        check([code.value for code in codes] == [qos], f"granted {codes}")

    def publish(self, topic, payload, qos, **more):
        self.client.publish(topic, payload, qos, **more).wait_for_publish(WITHIN_S)

    def take(self, many):
        return [self.received.get(timeout=WITHIN_S) for _ in range(many)]

    def vanish(self):
        """Closes the socket without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


def all_qos(opened, transport, v5):
    topic = unique("qos")
    reader, writer = opened(), opened()
    for qos in (0, 1, 2):
        reader.subscribe(f"{topic}/{qos}", qos)
        for number in range(20):
            writer.publish(f"{topic}/{qos}", str(number), qos)
        got = reader.take(20)
        check([m.payload.decode() for m in got] == [str(n) for n in range(20)], "order")
        check({(m.qos, m.retain) for m in got} == {(qos, False)}, "QoS or RETAIN")


def retained(opened, transport, v5):
    topic = unique("kept")
    writer = opened()
    writer.publish(topic, "kept", 1, retain=True)
    reader = opened()
    reader.subscribe(topic, 1)
    message = reader.take(1)[0]
    check(message.retain and message.payload == b"kept", "retained message")
    writer.publish(topic, "", 1, retain=True)
    late = opened()
    late.subscribe(topic, 1)
    writer.publish(topic, "live", 1)
    message = late.take(1)[0]
    check(not message.retain and message.payload == b"live", "it was removed")


def will(opened, transport, v5):
    topic = unique("will")
    reader = opened()
    reader.subscribe(topic, 1)
    opened(will=topic).end()
    opened(will=topic).vanish()
    check(reader.take(1)[0].payload == b"gone", "will")
    time.sleep(0.2)
    check(reader.received.empty(), "a will after DISCONNECT")


def resume(opened, transport, v5):
    topic, client_id = unique("resume"), unique("sleeper")
    first = opened(client_id=client_id, lasting=True)
    check(not first.session_present, "session present at first")
    first.subscribe(topic, 2)
    first.end()
    writer = opened()
    for number in range(5):
        writer.publish(topic, str(number), 2)
    second = opened(client_id=client_id, lasting=True)
    check(second.session_present, "session not present")
    check([m.payload.decode() for m in second.take(5)] == list("01234"), "what was queued")


def large(opened, transport, v5):
    topic = unique("large")
    reader, writer = opened(), opened()
    reader.subscribe(topic, 1)
    payload = bytes(range(256)) * 3600
    writer.publish(topic, payload, 1)
    check(reader.take(1)[0].payload == payload, "900 KB")


def properties_arrive(opened, transport, v5):
    topic = unique("props")
    reader, writer = opened(), opened()
    reader.subscribe(topic, 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = 60
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "answers/here"
    properties.CorrelationData = b"\x00\x01\xff"
    properties.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
    writer.publish(topic, "text", 1, properties=properties)
    got = reader.take(1)[0].properties
    check(got.PayloadFormatIndicator == 1, "payload format")
    check(50 < got.MessageExpiryInterval <= 60, "expiry")
    check(got.ContentType == "text/plain", "content type")
    check(got.ResponseTopic == "answers/here", "response topic")
    check(got.CorrelationData == b"\x00\x01\xff", "correlation data")
    check(got.UserProperty == [("b", "1"), ("a", "2"), ("b", "3")], "user properties in order")


def request_response(opened, transport, v5):
    topic = unique("service")
    server, asker = opened(), opened()

    def answer(client, data, message):
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = message.properties.CorrelationData
        text = message.payload + b" answered"
        client.publish(message.properties.ResponseTopic, text, 1, properties=properties)

    server.client.on_message = answer
    server.subscribe(topic, 1)
    asker.subscribe(f"{topic}/answer", 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = f"{topic}/answer"
    properties.CorrelationData = b"c7"
    asker.publish(topic, "question", 1, properties=properties)
    message = asker.take(1)[0]
    check(message.payload == b"question answered", "answer")
    check(message.properties.CorrelationData == b"c7", "correlation data")


CASES = [all_qos, retained, will, resume, large]
CASES_OF_V5 = [properties_arrive, request_response]


def run(case, transport, v5):
    judges = []

    def opened(**options):
        judges.append(Judge(transport, v5, **options))
        return judges[-1]

    problem = None
    try:
        case(opened, transport, v5)
    except queue.Empty:
        problem = "something expected did not come"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    for judge in judges:
        try:
            judge.end()
        except Exception:
            pass
    name = f"{case.__name__} over {transport}, MQTT {'5' if v5 else '3.1.1'}"
    print(json.dumps({"name": name, "problem": problem}), flush=True)


for transport in PORTS:
    for v5 in (False, True):
        for case in CASES + (CASES_OF_V5 if v5 else []):
            run(case, transport, v5)
