"""Asks a language model behind OpenAI's API, or behind any that speaks it (OPENAI_BASE_URL)."""
import json
import urllib.error
import urllib.request

from django.conf import settings

SECONDS = 20


class NoAdviceError(Exception):
    """The model gave no answer; says why, without the key."""


def ask(wish: str, names: list[str]) -> str:
    """Return what the model recommends; raise NoAdviceError when it does not answer."""
    question = f"Which one of {', '.join(names)} suits this wish: {wish}? Answer with its name and one sentence."
    request = urllib.request.Request(
        f"{settings.OPENAI_BASE_URL}/chat/completions",
        data=json.dumps({"model": settings.AI_MODEL, "messages": [{"role": "user", "content": question}]}).encode(),
        headers={"Authorization": f"Bearer {settings.OPENAI_API_KEY}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]
    except (OSError, ValueError, LookupError) as error:
        raise NoAdviceError(f"{settings.AI_MODEL} gave no answer: {error}") from error
