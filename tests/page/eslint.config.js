// Allow only features that browsers have had since the end of 2023 (https://web.dev/baseline): without
// one of them, a browser shows no page at all. tsc checks names and methods (tsconfig.json), because it
// knows the language by the year.

import css from "@eslint/css";
import js from "@eslint/js";
import baseline from "eslint-plugin-baseline-js";

const available = 2023;
const known = { preset: "auto" };

export default [
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.js"],
    plugins: { "baseline-js": baseline },
    rules: {
      ...js.configs.recommended.rules,
      "no-undef": "off", // tsc checks this
      "baseline-js/use-baseline": [
        "error",
        { available, includeWebApis: known, includeJsBuiltins: known },
      ],
    },
  },
  {
    files: ["**/*.css"],
    plugins: { css },
    language: "css/css",
    rules: {
      ...css.configs.recommended.rules,
      // Without these, the page only looks slightly different; Safari has no forced colours to adjust.
      "css/use-baseline": [
        "error",
        { available, allowProperties: ["accent-color", "forced-color-adjust", "user-select"] },
      ],
      "css/no-invalid-properties": ["error", { allowUnknownVariables: true }], // set by charts.js
    },
  },
];
