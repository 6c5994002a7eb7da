"""`eyelet serve` and clients of llama-server, unchanged: llama-cpp-agent's provider (its /completion, /v1/chat/completions and
/tokenize), LangChain's Llamafile (/completion), LiteLLM (chat with a picture), and llama-server's way of sending pictures.

Usage: serve_llama.py EYELET [MODEL]    needs: pip install litellm langchain-community requests; pip install --no-deps llama-cpp-agent

Prints one line per comparison and ends with "N passed, N failed"; a client that is not installed is skipped, and said so.
"""
import base64
import json
import os
import sys
import types
import urllib.request

from serve_openai import IMAGE, Server, Suite, about, picture

PROMPT = "two people are"


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def agent(s, server):
    library = types.ModuleType("llama_cpp")  # for models in its own process: imported by its __init__, not used here
    library.__getattr__ = lambda name: type(name, (), {})
    sys.modules.setdefault("llama_cpp", library)
    from llama_cpp_agent.llm_output_settings import LlmStructuredOutputSettings, LlmStructuredOutputType
    from llama_cpp_agent.providers.llama_cpp_server import LlamaCppServerProvider
    p = LlamaCppServerProvider(server.url)
    free = LlmStructuredOutputSettings(output_type=LlmStructuredOutputType.no_structured_output)
    o = p.get_provider_default_settings()
    o.n_predict, o.temperature, o.repeat_penalty, o.stream = 8, 0.0, 1.0, False
    want = post(server.url, "/completion", {"prompt": PROMPT, "n_predict": 8})["content"]
    got = p.create_completion(PROMPT, free, o, "")["choices"][0]["text"]
    s.check(got == want and got, f"llama-cpp-agent, /completion: {got!r}")
    o.stream = True
    got = "".join(c["choices"][0]["text"] for c in p.create_completion(PROMPT, free, o, ""))
    s.check(got == want, "llama-cpp-agent, /completion as a stream")
    o.stream = False
    got = p.create_chat_completion([{"role": "user", "content": PROMPT}], free, o)["choices"][0]["message"]["content"]
    s.check(isinstance(got, str) and got, f"llama-cpp-agent, chat: {got!r}")
    s.check(len(p.tokenize(PROMPT)) >= 3, "llama-cpp-agent, /tokenize")


def llamafile(s, server):
    from langchain_community.llms.llamafile import Llamafile
    llm = Llamafile(base_url=server.url, n_predict=8, temperature=0.0, repeat_penalty=1.0)
    want = post(server.url, "/completion", {"prompt": PROMPT, "n_predict": 8})["content"]
    got = llm.invoke(PROMPT)
    s.check(got == want, f"Llamafile: {got!r}")
    s.check("".join(llm.stream(PROMPT)) == want, "Llamafile as a stream")
    stop = want.split()[1]
    s.check(llm.invoke(PROMPT, stop=[stop]) == want[:want.index(stop)], f"Llamafile: stop before {stop!r}")


def lite(s, server):
    import litellm
    ask = lambda **kw: litellm.completion(model="openai/any", api_base=server.url + "/v1", api_key="none",  # noqa: E731
                                          messages=about(picture()), **kw)
    got = ask(max_tokens=16).choices[0].message.content
    s.check(len(got) > 10, f"LiteLLM, a picture: {got!r}")
    said = "".join(c.choices[0].delta.content or "" for c in ask(max_tokens=16, stream=True))
    s.check(said == got, "LiteLLM as a stream")
    schema = {"type": "object", "properties": {"people": {"type": "integer"}}, "required": ["people"]}
    got = ask(max_tokens=32, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    s.check(isinstance(json.loads(got.choices[0].message.content)["people"], int), "LiteLLM, JSON of a schema")


def pictures(s, server):
    with open(IMAGE, "rb") as f:
        data = base64.b64encode(f.read()).decode()
    prompt = {"prompt_string": "<__media__>", "multimodal_data": [data]}
    r = post(server.url, "/completion", {"prompt": prompt, "n_predict": 16, "n_beams": 1, "n_probs": 2, "return_tokens": True})
    s.check(len(r["content"]) > 10 and r["stop_type"] in ("eos", "limit"), f"llama-server's multimodal_data: {r['content']!r}")
    s.check(len(r["completion_probabilities"]) >= len(r["tokens"]) > 3, "n_probs, return_tokens")
    r = post(server.url, "/completion", {"prompt": PROMPT, "n_predict": 24, "json_schema": {"enum": ["yes", "no"]}})
    s.check(json.loads(r["content"]) in ("yes", "no"), f"json_schema: {r['content']}")


def run(eyelet, *model):
    s = Suite()
    server = Server(eyelet, *model)
    for part in (agent, llamafile, lite, pictures):
        try:
            part(s, server)
        except ModuleNotFoundError as e:
            print(f"skipped: {part.__name__}: {e}")
        except Exception as e:  # noqa: BLE001
            s.check(False, f"{part.__name__}: {type(e).__name__}: {e}")
    s.check(server.close() == 0, "ends with status 0")
    return s


if __name__ == "__main__":
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # nothing is asked of other machines
    suite = run(sys.argv[1], *(["-m", sys.argv[2]] if len(sys.argv) > 2 else []))
    print(f"{suite.passed} passed, {suite.failed} failed")
    sys.exit(suite.failed > 0)
