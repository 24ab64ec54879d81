## Teasers.  One fragment for each article and style.

<%def name="kicker(slug)" buffered="True" filter="trim, Markup" cached="True"
      cache_region="long">
## Buffered and marked safe: it comes back from the cache as Markup, or the
## caller's "h" filter would escape it.
<a class="kicker" href="/section/${slug}">${sections[slug]}</a>
</%def>

<%def name="when(moment)">
<time datetime="${moment.isoformat()}">${f"{moment.day} {moment:%B, %H:%M}"}</time>\
</%def>

<%def name="teaser(article_id, style='plain')" cached="True"
      cache_region="long" cache_timeout="300">
<% article = news[article_id] %>
<article class="card ${style}">
% if style in ("lead", "top", "picture"):
<a class="frame" href="${article.path}" tabindex="-1" aria-hidden="true">${news.engraving(article_id)}</a>
% endif
<div class="words">
${kicker(article.section)}
<h3><a href="${article.path}">${article.headline}</a></h3>
% if style in ("lead", "list"):
<p class="standfirst">${article.standfirst}</p>
% endif
<p class="teaser">${news.teaser(article_id, 2 if style == "lead" else 1)}</p>
<p class="meta">${when(article.published)} · ${news.minutes(article_id)} min\
% if article.comments:
 · <a href="${article.path}#comments">${len(article.comments)} ${"letter" if len(article.comments) == 1 else "letters"}</a>\
% endif
</p>
</div>
</article>
</%def>
