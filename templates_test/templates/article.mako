<%inherit file="base.mako"/>\
<%namespace name="cards" file="cards.mako"/>\
<%namespace name="nav" file="nav.mako"/>\
<%namespace name="reader" file="reader.mako"/>\
<%namespace name="ui" file="ui.mako"/>\
<%block name="title">${news[article_id].headline} – The Saltmere Courier</%block>

<%def name="story(article_id)" cached="True" cache_region="long"
      cache_enabled="${not preview}">
<% article = news[article_id] %>
<article class="story">
<header>
<h1>${article.headline}</h1>
<p class="standfirst">${article.standfirst}</p>
<p class="meta">From our ${sections[article.section]} desk · \
${cards.when(article.published)} · ${news.minutes(article_id)} min</p>
</header>
% if preview:
<p class="draft">Draft: ${len(article.body.split())} words, not yet printed.</p>
% endif
<figure>${news.engraving(article_id)}</figure>
<div class="text">
${news.html(article.body)}
</div>
</article>
</%def>

<%def name="related(of)" cached="True" cache_ttl="10m"
      cache_key="${('related', of)}">
<%ui:panel title="More on this" kind="related">
<ul class="links">
% for article in news.related(of):
<li>${cards.kicker(article.section)}
<a href="${article.path}">${article.headline}</a></li>
% endfor
</ul>
</%ui:panel>
</%def>

${nav.path(section)}
<div class="columns reading">
<div>
${story(article_id)}
<%include file="comments.mako" args="article_id=article_id"/>
</div>
<aside>
${reader.box(article_id)}
${related(article_id)}
</aside>
</div>
