// Check the links, the form and the English of the documents. Links to other sites are not followed.

import relativeLinks from "markdownlint-rule-relative-links";
import searchReplace from "markdownlint-rule-search-replace";

// Phrases that are nearly always wrong in these documents, and better ones. A space matches any white
// space, a pattern matches whole words, and case is ignored unless flags are given.
const phrases = [
  // Not idiomatic.
  ["to be had", "available"],
  ["stands? (?:in|there)(?! for)", "is in, is there"],
  ["(?:goes|went) on(?! (?:the|a)\\b)", "continues, resumes"],
  ["(?:go|goes|went|going|gone) away", "be deleted, leave, disconnect"],
  ["(?:in|with|by|is|are) (?:a|one) sentence", "a message"],
  ["(?:is|are) said(?! to\\b)", "is reported, is shown"],
  ["what is wrong is", "the error is"],
  ["beside", "next to, compared with"],
  ["likewise", "also, the same"],
  ["dear(?:er|est)?", "expensive"],
  ["in the place of", "instead of"],
  ["anew", "again, from scratch"],
  [
    "(?:one|two|three|\\d|[kMG]B|[mµ]s|requests|pictures|digits|images) an? " +
      "(?:second|minute|hour|day|line|file|picture|request|worker|core)",
    "per",
  ],
  ["(?:take|takes|taken|took) apart", "parse, split"],
  ["(?:let|lets) in", "allow, accept"],
  ["passed over", "skipped"],
  ["(?:hold|holds|held) (?:it |them )?against", "compare with, check against"],
  ["sure to \\d+ ?%", "with … % confidence"],
  ["how right", "how accurate"],
  ["to the last bit", "bit for bit, exactly"],
  ["becomes? of", "happens to"],
  ["there are such", "some are"],
  ["answers? (?:with )?(?:4\\d\\d|50\\d)(?! \\w+s\\b)", "returns"],
  ["how (?:it|this|that|they|these|those) looks? like", "what it looks like"],
  ["(?:allow|permit|enable)(?:s|ed)? to", "let you, allow …ing"],
  ["(?:in|on) the half", "at half"],
  // Wordy, or stiff.
  ["in order to", "to"],
  ["(?:due to|because of|given|despite) the fact that", "because, although"],
  ["prior to", "before"],
  ["with regards? to|as regards", "about, for"],
  ["in the (?:event|case) (?:of|that)", "if, for"],
  ["for the purposes? of", "to, for"],
  ["whether or not", "whether"],
  ["utili[sz](?:e|es|ed|ing|ation)", "use"],
  ["leverag(?:e|es|ed|ing)", "use"],
  ["(?:there|here)(?:of|by|in|with)|hence|whereas", "of it, so, in it, with it, while"],
  ["till", "until"],
  ["and/or", "or"],
  ["it (?:should|must) be noted that", "(nothing)"],
  ["obviously|basically", "(nothing)"],
  ["amount of (?:pictures|images|digits|files|requests|errors)", "number of"],
  ["less (?:pictures|images|digits|files|requests|errors)", "fewer"],
  // Repeated words and wrong articles.
  ["([a-z]+) \\1", "once"],
  ["[Aa] (?!eu|ewe|once?\\b|u[a-z][aeiou]|uvicorn)[aeiou][a-z]\\w+", "an", "g"],
  ["[Aa]n (?!hour|honest|heir|honou?r)[b-df-hj-np-tv-xz][aeiou]\\w+", "a", "g"],
];

// Matches within a line or at its end, but not at the end of a paragraph.
const space = "(?:[ \\t]+|[ \\t]*\\n[ \\t]*)";

const rules = [
  ...phrases.map(([phrase, better, flags = "gi"]) => ({
    name: "write",
    message: better,
    searchPattern: `/(?<![\\w<-])(?:${phrase.replaceAll(" ", space)})(?![\\w-])/${flags}`,
    searchScope: "text",
  })),
  {
    name: "write",
    message: ".venv/bin/python or .venv-dev/bin/python",
    searchPattern: "/(?<![\\w\\/.`-])python +(?:-(?!m venv)\\S|\\w[\\w\\/]*\\.py)/g",
    searchScope: "code",
  },
];

const languages = ["caddyfile", "console", "json", "mermaid", "python", "sh", "text", "toml", "yaml"];

export default {
  globs: ["**/*.md"],
  gitignore: true,
  noBanner: true,
  noProgress: true,
  customRules: [relativeLinks, searchReplace],
  config: {
    default: true,
    "line-length": false,
    "no-duplicate-heading": { siblings_only: true },
    "no-inline-html": { allowed_elements: ["a", "br", "details", "img", "summary"] },
    "first-line-heading": false, // the pull request template starts without a heading
    "fenced-code-language": { allowed_languages: languages },
    "table-column-style": false, // mistakes an empty cell for padding
    "relative-links": { root_path: "." },
    "search-replace": { rules },
  },
};
