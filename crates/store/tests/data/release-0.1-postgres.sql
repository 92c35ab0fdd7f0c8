CREATE TABLE public.api_keys (
    id text NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    hash bytea NOT NULL,
    created_at_ms bigint NOT NULL,
    revoked_at_ms bigint
);
CREATE TABLE public.schema_version (
    version bigint NOT NULL
);
CREATE TABLE public.settings (
    name text NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.stored_responses (
    id text NOT NULL,
    key_id text NOT NULL,
    previous_id text,
    model text NOT NULL,
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    bytes bigint NOT NULL,
    input text NOT NULL,
    response text NOT NULL
);
CREATE TABLE public.usage_records (
    started_at_ms bigint NOT NULL,
    request_id text NOT NULL,
    nonce bigint NOT NULL,
    key_id text NOT NULL,
    record jsonb NOT NULL
);
CREATE VIEW public.usage_report AS
 SELECT usage_records.started_at_ms,
    usage_records.request_id,
    usage_records.key_id,
    (usage_records.record ->> 'requested_model'::text) AS requested_model,
    (usage_records.record ->> 'used_provider'::text) AS used_provider,
    (usage_records.record ->> 'used_model'::text) AS used_model,
    ((usage_records.record ->> 'status'::text))::integer AS status,
    (usage_records.record ->> 'error_kind'::text) AS error_kind,
    ((usage_records.record ->> 'duration_ms'::text))::bigint AS duration_ms,
    (((usage_records.record -> 'cost_pico'::text) ->> 'total'::text))::bigint AS cost_pico,
    ((usage_records.record ->> 'upstream_cost_pico'::text))::bigint AS upstream_cost_pico
   FROM public.usage_records;
INSERT INTO public.api_keys VALUES ('key_9f26e09b88253caf', 'first', 'lgw--OU6', '\xa3dd02174a54d5aca8d9449e7969065960917a630d50814ae41bece92c2dd9ba', 1795738479931, NULL);
INSERT INTO public.api_keys VALUES ('key_9145ee7264d40df8', 'second', 'lgw-14vC', '\x225925497807d93ad0e4845dc3dd0ca49fe89c8b7f3e2ae7f00aa3c82eead0ec', 1795738480121, NULL);
INSERT INTO public.api_keys VALUES ('key_bd6dd3ec551d0eed', 'gone', 'lgw-TrjY', '\x0b8e4f64314843fca68ce275bec40358dddca658bd3c1f3db8ae436898ff80d1', 1795738480286, 1795738480465);
INSERT INTO public.schema_version VALUES (3);
INSERT INTO public.settings VALUES ('key_pepper', 'a828ea1d55badf91ded06de028b885a03c00e886b513ab060e237a8ab6969789');
INSERT INTO public.settings VALUES ('change_marker', '4');
INSERT INTO public.stored_responses VALUES ('resp_01a21a5ab3af7470a9087edcda6eec57', 'key_9f26e09b88253caf', NULL, 'demo/echo', 1795738481583, 1798330481583, 1578, '[{"role":"user","content":[{"type":"input_text","text":"hi"}],"type":"message","id":"msg_01a21a5ab3af7470a9087edcda6eec57i00"}]', '{"id":"resp_01a21a5ab3af7470a9087edcda6eec57","object":"response","created_at":1795738481,"status":"completed","error":null,"incomplete_details":null,"model":"echo","output":[{"id":"msg_01a21a5ab3af7470a9087edcda6eec5700","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"This is the llmgateway demo model: its answers follow fixed rules. You said: hi","annotations":[],"logprobs":[]}]}],"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"metadata":{},"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":null,"safety_identifier":null,"temperature":null,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled","user":null,"store":true,"background":false,"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":21},"llmgateway":{"request_id":"req_01a21a5ab3ae7052921cce6c500a0f03","requested_model":"demo/echo","requested_provider":"demo","used_model":"echo","used_provider":"demo","underlying_used_model":"echo","routing":[{"provider":"demo","model":"echo","status_code":200,"error_type":"","latency_ms":1,"key":"","provider_request_id":"req_mock00000004"}],"selection":{"reason":"only_candidate"},"losses":[],"cost":{"usd_total":0,"usd_input":0,"usd_output":0,"usd_cached_input":0}}}');
INSERT INTO public.usage_records VALUES (1795738481539, 'req_01a21a5ab38276df8f2a012a1e791001', -4270474435194701071, 'key_9f26e09b88253caf', '{"nonce": -4270474435194701071, "usage": {"input": 1, "output": 20}, "key_id": "key_9f26e09b88253caf", "status": 200, "ttft_ms": 6, "attempts": [{"model": "echo", "provider": "demo", "latency_ms": 6, "status_code": 200, "provider_request_id": "req_mock00000001"}], "cost_pico": {"total": 0}, "request_id": "req_01a21a5ab38276df8f2a012a1e791001", "used_model": "echo", "duration_ms": 6, "finish_reason": "stop", "started_at_ms": 1795738481539, "used_provider": "demo", "requested_model": "demo/echo", "underlying_model": "echo", "requested_provider": "demo", "upstream_cost_pico": 0}');
INSERT INTO public.usage_records VALUES (1795738481555, 'req_01a21a5ab39374ff90e62f6e276d8b9b', -4270474435194701070, 'key_9f26e09b88253caf', '{"nonce": -4270474435194701070, "usage": {"input": 1, "output": 20}, "key_id": "key_9f26e09b88253caf", "status": 200, "ttft_ms": 2, "attempts": [{"model": "echo", "provider": "demo", "latency_ms": 2, "status_code": 200, "provider_request_id": "req_mock00000002"}], "cost_pico": {"total": 0}, "request_id": "req_01a21a5ab39374ff90e62f6e276d8b9b", "used_model": "echo", "duration_ms": 2, "finish_reason": "stop", "started_at_ms": 1795738481555, "used_provider": "demo", "requested_model": "demo/echo", "underlying_model": "echo", "requested_provider": "demo", "upstream_cost_pico": 0}');
INSERT INTO public.usage_records VALUES (1795738481572, 'req_01a21a5ab3a473b294a11fd6b2a87fe7', -4270474435194701069, 'key_9f26e09b88253caf', '{"nonce": -4270474435194701069, "usage": {"input": 1, "output": 20}, "key_id": "key_9f26e09b88253caf", "status": 200, "ttft_ms": 0, "attempts": [{"model": "echo", "provider": "demo", "latency_ms": 0, "status_code": 200, "provider_request_id": "req_mock00000003"}], "cost_pico": {"total": 0}, "request_id": "req_01a21a5ab3a473b294a11fd6b2a87fe7", "used_model": "echo", "duration_ms": 0, "finish_reason": "stop", "started_at_ms": 1795738481572, "used_provider": "demo", "requested_model": "demo/echo", "underlying_model": "echo", "requested_provider": "demo", "upstream_cost_pico": 0}');
INSERT INTO public.usage_records VALUES (1795738481582, 'req_01a21a5ab3ae7052921cce6c500a0f03', -4270474435194701068, 'key_9f26e09b88253caf', '{"nonce": -4270474435194701068, "usage": {"input": 1, "output": 20}, "key_id": "key_9f26e09b88253caf", "status": 200, "ttft_ms": 1, "attempts": [{"model": "echo", "provider": "demo", "latency_ms": 1, "status_code": 200, "provider_request_id": "req_mock00000004"}], "cost_pico": {"total": 0}, "request_id": "req_01a21a5ab3ae7052921cce6c500a0f03", "used_model": "echo", "duration_ms": 2, "finish_reason": "stop", "started_at_ms": 1795738481582, "used_provider": "demo", "requested_model": "demo/echo", "underlying_model": "echo", "requested_provider": "demo", "upstream_cost_pico": 0}');
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_hash_key UNIQUE (hash);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.stored_responses
    ADD CONSTRAINT stored_responses_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.usage_records
    ADD CONSTRAINT usage_records_pkey PRIMARY KEY (started_at_ms, request_id, nonce);
CREATE INDEX stored_responses_by_expiry ON public.stored_responses USING btree (expires_at_ms);
CREATE INDEX stored_responses_by_previous ON public.stored_responses USING btree (previous_id) WHERE (previous_id IS NOT NULL);
CREATE INDEX usage_records_by_key ON public.usage_records USING btree (key_id, started_at_ms);
