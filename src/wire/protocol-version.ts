/**
 * The protocol levels Causeway speaks, as the CONNECT packet carries them:
 * 3 is MQTT 3.1 (MQIsdp), 4 is MQTT 3.1.1, 5 is MQTT 5.0.
 */

export type ProtocolVersion = 3 | 4 | 5;
