const readonly = (names) => Object.fromEntries(names.split(" ").map((name) => [name, "readonly"]));

const rules = {
  "no-undef": "error",
  "no-unused-vars": ["error", { argsIgnorePattern: "^_", caughtErrors: "none" }],
  "no-redeclare": "error",
  "no-fallthrough": "error",
  "no-self-compare": "error",
  eqeqeq: ["error", "always", { null: "ignore" }],
};

export default [
  {
    files: ["**/*.js"],
    languageOptions: {
      ecmaVersion: 2020, // 2018, and import.meta, which the bundler takes out of comet.js
      sourceType: "module",
      globals: readonly(
        "window document navigator location URL setTimeout clearTimeout requestAnimationFrame CustomEvent DOMParser Element " +
          "HTMLElement HTMLFormElement Node NodeFilter MutationObserver CSSStyleSheet customElements console",
      ),
    },
    rules: { ...rules, "no-var": "error", "prefer-const": "error" },
  },
  {
    files: ["**/legacy.js", "**/legacy/**/*.js"], // it has to stay near to what old browsers know
    languageOptions: { globals: readonly("XMLHttpRequest ActiveXObject") },
    rules: { "no-var": "off", "prefer-const": "off" },
  },
  {
    files: ["**/tools/*.js", "**/*.mjs"],
    languageOptions: { ecmaVersion: 2024, globals: readonly("process URL Response ReadableStream TextEncoder setImmediate TextDecoder AbortController") },
    rules,
  },
];
