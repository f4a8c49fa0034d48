// @ts-check
/**
 * Texts for people, translated by the server: `<template id="words">` holds one element per text, named by
 * `data-word`. A text may hold `{name}` places; `files.one` and `files.other` are chosen by `count`.
 */

/** @typedef {(key: string, values?: Record<string, string|number>) => string} Words */

/**
 * @param {string} text
 * @param {Record<string, string|number>} values
 */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
}

/**
 * @param {Map<string, string>} texts
 * @param {string} language
 * @returns {Words}
 */
export function words(texts, language) {
  const plural = new Intl.PluralRules(language);
  return (key, values = {}) => {
    const form = "count" in values ? `${key}.${plural.select(Number(values.count))}` : key;
    const text = texts.get(form) ?? texts.get(`${key}.other`) ?? texts.get(key);
    return text === undefined ? key : fill(text, values);
  };
}

/** @param {Document} page */
export function readWords(page) {
  const source = /** @type {HTMLTemplateElement} */ (page.getElementById("words"));
  const texts = new Map();
  for (const entry of source.content.querySelectorAll("[data-word]")) {
    texts.set(entry.getAttribute("data-word"), (entry.textContent ?? "").trim());
  }
  return words(texts, page.documentElement.lang || "en");
}
