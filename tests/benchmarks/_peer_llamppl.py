"""llamppl's ``smc_standard`` with its Hugging Face backend and a model that writes one reasoning step at a time.

llamppl (0.2.3) leaves the language model to genlm-backend. Choices made here:

- Auto-batching is on, and the batch size is the number of particles, so a batch starts when the last particle has asked and
  nobody waits for the backend's timeout (0.02 s a token with the default batch size of 20).
- The prompt's keys and values are cached with ``cache_kv``, as in its examples. What is generated is not: the backend keeps
  keys and values of such prompts only, and encodes all tokens since the prompt again for each token. Calling ``cache_kv``
  for every particle and step does not help, because each call replaces the branch that the calls before it have made
  (``TokenTrie.add_token``), and it runs alone, not in the batch.
- One ``step`` of the model draws one reasoning step token by token (``LMContext.next_token``) and adds the logit of its
  score to the weight. Particles are scored in one batched pass over prompt and text.
- It resamples whenever the effective sample size is below the number of particles, that is at every step, as its_hub does.
- The caches are emptied before each run.
"""

import asyncio

from _fixed_length import render
from genlm.backend.llm import AsyncTransformer
from llamppl import CachedCausalLM, LMContext, Model, smc_standard


class BatchedReward:
    """Waits until every particle has asked for its score, then scores them all."""

    def __init__(self, models, problem, num_particles):
        self.models, self.problem, self.num_particles = models, problem, num_particles
        self._waiting = []

    async def logit(self, text):
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if len(self._waiting) == self.num_particles:
            waiting, self._waiting = self._waiting, []
            logits = self.models.score_logits(self.problem, [text for text, _ in waiting])
            for (_, one), logit in zip(waiting, logits, strict=True):
                one.set_result(logit)
        return await future


class ReasoningSteps(Model):
    """A particle: an answer of a fixed number of steps of a fixed number of tokens."""

    def __init__(self, language_model, prompt, reward, num_steps, step_tokens):
        super().__init__()
        self.context = LMContext(language_model, prompt)
        self.reward = reward
        self.steps_left = num_steps
        self.step_tokens = step_tokens

    def immutable_properties(self):
        return {"reward", "step_tokens"}

    async def step(self):
        for _ in range(self.step_tokens):
            await self.sample(self.context.next_token())
        self.score(await self.reward.logit(str(self.context)))
        self.steps_left -= 1
        if not self.steps_left:
            self.finish()


class Llamppl:
    """The runner that ``_peers_main.py`` calls."""

    def __init__(self, models):
        self.models = models
        self.backend = AsyncTransformer(models.model, models.tokenizer)
        self.language_model = CachedCausalLM(self.backend)

    def run(self, problem, num_particles, num_steps, step_tokens):
        """One run on steps of a fixed length."""
        self.backend.batch_size = num_particles
        self.language_model.clear_cache()
        prompt = render(self.models.tokenizer, problem)
        self.language_model.cache_kv(self.models.tokenizer.encode(prompt))
        reward = BatchedReward(self.models, problem, num_particles)
        model = ReasoningSteps(self.language_model, prompt, reward, num_steps, step_tokens)
        particles = asyncio.run(smc_standard(model, num_particles, ess_threshold=1.0))
        lengths = {particle.context.token_count for particle in particles}
        if lengths != {num_steps * step_tokens}:
            raise RuntimeError(f"expected {num_steps * step_tokens} tokens of every particle, got {lengths}")
        return {"generated_tokens": num_particles * num_steps * step_tokens}
