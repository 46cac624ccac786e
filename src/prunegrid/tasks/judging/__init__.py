"""Judging answers with another model: what it is asked, how it is reached, and what it said, stored for replay.

prompts   what a judge is told, one function per benchmark, and how its words are read
client    any endpoint with the chat interface of OpenAI; retries, never a made-up answer
store     judgements on disk: scoring replays them and needs no network
"""
