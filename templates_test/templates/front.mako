<%inherit file="base.mako"/>\
<%namespace name="cards" file="cards.mako"/>\
<%namespace name="reader" file="reader.mako"/>\
<%namespace name="ui" file="ui.mako"/>\
<%block name="title">${parent.title()}: the news from the quay</%block>
<% parts = news.front() %>
<h1 class="quiet">Today’s front page</h1>
<div class="opening">
${cards.teaser(parts["lead"][0], "lead")}
% for article_id in parts["top"]:
${cards.teaser(article_id, "top" if loop.index < 2 else "list" if loop.last else "plain")}
% endfor
</div>
<div class="columns">
<div class="river">
% for slug, title in sections.items():
<section class="desk" aria-labelledby="desk-${slug}">
<h2 id="desk-${slug}"><a href="/section/${slug}">${title}</a></h2>
<div class="grid">
% for article_id in parts[slug]:
${cards.teaser(article_id, "picture" if loop.first else "plain")}
% endfor
</div>
</section>
% endfor
</div>
<aside>
${reader.box()}
<%block name="discussed" cached="True" cache_region="short"
        cache_timeout="120">
<%ui:panel title="Most letters" kind="ranked">
<ol class="links">
% for article in news.most_discussed():
<li><a href="${article.path}">${article.headline}</a>
<span class="meta">${len(article.comments)} letters</span></li>
% endfor
</ol>
</%ui:panel>
</%block>
<%block name="talk" cached="True" cache_ttl="5m" cache_key="words:${str(news.edition.date())}">
<%ui:panel title="Words of the day" kind="words">
<p class="tags">
% for word in news.talked_about(12):
<span>${word}</span>
% endfor
</p>
</%ui:panel>
</%block>
</aside>
</div>
