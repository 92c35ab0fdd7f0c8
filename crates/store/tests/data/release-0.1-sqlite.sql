BEGIN TRANSACTION;
CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    prefix        TEXT NOT NULL,
    hash          BLOB NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
) STRICT;
INSERT INTO "api_keys" VALUES('key_5fa0ab5c02979a8b','first','lgw-WgOU',X'23058F18E97E7532653737D1B05535CB930D06E95A32A11A14C97CE076C89ABD',1795738477155,NULL);
INSERT INTO "api_keys" VALUES('key_700a022a04739c0a','second','lgw-O35h',X'5EFA73A89409E5AC84ED49593E75753BAF04E0F69E40C1B83919F8D4EC54BE6E',1795738477296,NULL);
INSERT INTO "api_keys" VALUES('key_c1542245d5cf9c28','gone','lgw-NQ17',X'83F370044418882C219A74A2CC1F21879D3350E8767515F0A025DFDF85331143',1795738477437,1795738477593);
CREATE TABLE settings (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID, STRICT;
INSERT INTO "settings" VALUES('change_marker','4');
INSERT INTO "settings" VALUES('key_pepper','077828195093bbe4deca6b771f6513aa1dc154c0908cd438be8b6542650acdc2');
CREATE TABLE stored_responses (
    id            TEXT PRIMARY KEY NOT NULL,
    key_id        TEXT NOT NULL,
    previous_id   TEXT,
    model         TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    input         TEXT NOT NULL,
    response      TEXT NOT NULL
) STRICT;
INSERT INTO "stored_responses" VALUES('resp_01a21a5aa894756091ed22155cf24757','key_5fa0ab5c02979a8b',NULL,'demo/echo',1795738478740,1798330478740,1578,'[{"role":"user","content":[{"type":"input_text","text":"hi"}],"type":"message","id":"msg_01a21a5aa894756091ed22155cf24757i00"}]','{"id":"resp_01a21a5aa894756091ed22155cf24757","object":"response","created_at":1795738478,"status":"completed","error":null,"incomplete_details":null,"model":"echo","output":[{"id":"msg_01a21a5aa894756091ed22155cf2475700","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"This is the llmgateway demo model: its answers follow fixed rules. You said: hi","annotations":[],"logprobs":[]}]}],"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"metadata":{},"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":null,"safety_identifier":null,"temperature":null,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled","user":null,"store":true,"background":false,"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":21},"llmgateway":{"request_id":"req_01a21a5aa8927643932d46ed24c258fb","requested_model":"demo/echo","requested_provider":"demo","used_model":"echo","used_provider":"demo","underlying_used_model":"echo","routing":[{"provider":"demo","model":"echo","status_code":200,"error_type":"","latency_ms":1,"key":"","provider_request_id":"req_mock00000004"}],"selection":{"reason":"only_candidate"},"losses":[],"cost":{"usd_total":0,"usd_input":0,"usd_output":0,"usd_cached_input":0}}}');
CREATE TABLE "usage_records" (
    started_at_ms INTEGER NOT NULL,
    request_id    TEXT NOT NULL,
    nonce         INTEGER NOT NULL,
    key_id        TEXT NOT NULL,
    record        TEXT NOT NULL
) STRICT;
INSERT INTO "usage_records" VALUES(1795738478663,'req_01a21a5aa847720a90e12fd8b5a90d03',-8961604002146526902,'key_5fa0ab5c02979a8b','{"nonce":-8961604002146526902,"started_at_ms":1795738478663,"request_id":"req_01a21a5aa847720a90e12fd8b5a90d03","key_id":"key_5fa0ab5c02979a8b","duration_ms":7,"ttft_ms":7,"requested_model":"demo/echo","requested_provider":"demo","used_model":"echo","used_provider":"demo","underlying_model":"echo","finish_reason":"stop","attempts":[{"provider":"demo","model":"echo","status_code":200,"latency_ms":7,"provider_request_id":"req_mock00000001"}],"status":200,"usage":{"input":1,"output":20},"cost_pico":{"total":0},"upstream_cost_pico":0}');
INSERT INTO "usage_records" VALUES(1795738478716,'req_01a21a5aa87c72cf81a1a9f0c5124d7f',-8961604002146526901,'key_5fa0ab5c02979a8b','{"nonce":-8961604002146526901,"started_at_ms":1795738478716,"request_id":"req_01a21a5aa87c72cf81a1a9f0c5124d7f","key_id":"key_5fa0ab5c02979a8b","duration_ms":1,"ttft_ms":1,"requested_model":"demo/echo","requested_provider":"demo","used_model":"echo","used_provider":"demo","underlying_model":"echo","finish_reason":"stop","attempts":[{"provider":"demo","model":"echo","status_code":200,"latency_ms":1,"provider_request_id":"req_mock00000002"}],"status":200,"usage":{"input":1,"output":20},"cost_pico":{"total":0},"upstream_cost_pico":0}');
INSERT INTO "usage_records" VALUES(1795738478728,'req_01a21a5aa88877deb83b04771652182e',-8961604002146526900,'key_5fa0ab5c02979a8b','{"nonce":-8961604002146526900,"started_at_ms":1795738478728,"request_id":"req_01a21a5aa88877deb83b04771652182e","key_id":"key_5fa0ab5c02979a8b","duration_ms":0,"ttft_ms":0,"requested_model":"demo/echo","requested_provider":"demo","used_model":"echo","used_provider":"demo","underlying_model":"echo","finish_reason":"stop","attempts":[{"provider":"demo","model":"echo","status_code":200,"latency_ms":0,"provider_request_id":"req_mock00000003"}],"status":200,"usage":{"input":1,"output":20},"cost_pico":{"total":0},"upstream_cost_pico":0}');
INSERT INTO "usage_records" VALUES(1795738478738,'req_01a21a5aa8927643932d46ed24c258fb',-8961604002146526899,'key_5fa0ab5c02979a8b','{"nonce":-8961604002146526899,"started_at_ms":1795738478738,"request_id":"req_01a21a5aa8927643932d46ed24c258fb","key_id":"key_5fa0ab5c02979a8b","duration_ms":7,"ttft_ms":1,"requested_model":"demo/echo","requested_provider":"demo","used_model":"echo","used_provider":"demo","underlying_model":"echo","finish_reason":"stop","attempts":[{"provider":"demo","model":"echo","status_code":200,"latency_ms":1,"provider_request_id":"req_mock00000004"}],"status":200,"usage":{"input":1,"output":20},"cost_pico":{"total":0},"upstream_cost_pico":0}');
CREATE UNIQUE INDEX usage_records_by_time ON usage_records (started_at_ms, nonce, key_id);
CREATE VIEW usage_report AS
SELECT
    started_at_ms,
    request_id,
    key_id,
    record ->> '$.requested_model' AS requested_model,
    record ->> '$.used_provider' AS used_provider,
    record ->> '$.used_model' AS used_model,
    record ->> '$.status' AS status,
    record ->> '$.error_kind' AS error_kind,
    record ->> '$.duration_ms' AS duration_ms,
    record ->> '$.cost_pico.total' AS cost_pico,
    record ->> '$.upstream_cost_pico' AS upstream_cost_pico
FROM usage_records;
CREATE INDEX stored_responses_by_expiry ON stored_responses (expires_at_ms);
CREATE INDEX stored_responses_by_previous ON stored_responses (previous_id) WHERE previous_id IS NOT NULL;
COMMIT;
PRAGMA user_version = 4;
