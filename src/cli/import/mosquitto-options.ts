/**
 * Every option mosquitto 2.0 (and what 2.1 added) knows, and what it belongs to. An option that is
 * missing here is one mosquitto would refuse.
 */

/**
 * `node`: one for all. `listener`: of the listener above it. `security`: of the listener above it when
 * `per_listener_settings` is on, else one for all. `plugin`: parts that are not carried. `bridge`: of the `connection` above it.
 * `needless`: nothing has to correspond to it.
 */
export type Scope = 'node' | 'listener' | 'security' | 'plugin' | 'bridge' | 'needless';

const names: Readonly<Record<Scope, string>> = {
  node: `
    allow_duplicate_messages check_retain_source clientid_prefixes connection_messages
    enable_control_api global_max_clients global_max_connections log_dest log_type
    max_inflight_bytes max_inflight_messages max_keepalive max_packet_size max_queued_bytes
    max_queued_messages memory_limit message_size_limit per_listener_settings persistence
    persistence_location persistent_client_expiration packet_buffer_size packet_max_auth
    packet_max_connect packet_max_simple queue_qos0_messages retain_available
    retain_expiry_interval sys_interval upgrade_outgoing_qos`,
  listener: `
    port bind_address listener accept_protocol_versions bind_interface cafile capath certfile ciphers
    ciphers_tls1.3 crlfile disable_client_cert_date_checks enable_proxy_protocol http_dir keyfile
    max_connections max_qos max_topic_alias max_topic_alias_broker mount_point protocol
    proxy_protocol_v2_require_tls psk_hint require_certificate socket_domain tls_engine
    tls_engine_kpass_sha1 tls_keyform tls_version use_identity_as_username use_subject_as_username
    use_username_as_clientid websockets_origin`,
  security: `
    acl_file allow_anonymous allow_zero_length_clientid auto_id_prefix password_file psk_file`,
  plugin: `
    auth_plugin plugin global_plugin plugin_load plugin_use auth_plugin_deny_special_chars`,
  bridge: `
    connection address addresses bridge_alpn bridge_attempt_unsubscribe bridge_bind_address
    bridge_cafile bridge_capath bridge_certfile bridge_ciphers bridge_ciphers_tls1.3 bridge_identity
    bridge_insecure bridge_keyfile bridge_max_packet_size bridge_max_topic_alias
    bridge_outgoing_retain bridge_protocol_version bridge_psk bridge_receive_maximum
    bridge_reload_type bridge_require_ocsp bridge_session_expiry_interval bridge_tcp_keepalive
    bridge_tcp_user_timeout bridge_tls_use_os_certs bridge_tls_version cleansession clientid
    idle_timeout keepalive_interval local_cleansession local_clientid local_password local_username
    notification_topic notifications notifications_local_only password remote_clientid
    remote_password remote_username restart_timeout round_robin start_type threshold topic
    try_private username`,
  // Saving and logging of their own kind, and what the one who starts the process decides.
  needless: `
    autosave_interval autosave_on_changes dhparamfile log_facility log_timestamp
    log_timestamp_format persistence_file pid_file retry_interval set_tcp_nodelay
    store_clean_interval user websockets_headers_size websockets_log_level`,
};

const scopes: ReadonlyMap<string, Scope> = new Map(
  Object.entries(names).flatMap(([scope, list]) =>
    list
      .trim()
      .split(/\s+/)
      .map((name): [string, Scope] => [name, scope as Scope]),
  ),
);

/** Older spellings. */
const synonyms: ReadonlyMap<string, string> = new Map([
  ['maximum_qos', 'max_qos'],
  ['retained_persistence', 'persistence'],
]);

export function canonicalName(name: string): string {
  return synonyms.get(name) ?? name;
}

export const optionNames: readonly string[] = [...scopes.keys(), ...synonyms.keys()];

/** Null: mosquitto has no such option. */
export function scopeOf(name: string): Scope | null {
  if (name.startsWith('auth_opt_') || name.startsWith('plugin_opt_')) return 'plugin';
  return scopes.get(name) ?? null;
}
